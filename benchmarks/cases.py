"""What is measured: configurations by name, and made-up batches with the shapes of real ones.

Neither jax nor torch is imported here, so that both workers start from the same small base.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from zv_jax.config import Config, recipe, validate
from zv_jax.configs.quickstart import get_config as quickstart_config
from zv_jax.errors import unknown_name

Batch = dict[str, np.ndarray]
FIRST_WORD = 4  # smaller ids are padding and marks in every tokenizer of the project
DEC_ID = 3
# Smallest share of a row that is real text, and of its answer room that carries loss.
FILLED = 0.5


def _plain(preset: str, stage: str, variant: str, rows: int, **data: int) -> Config:
    """A preset without a recipe of its own, at the given shapes."""
    return validate(
        recipe(
            f"{preset}_{variant}",
            stage={"name": stage, "variant": variant},
            data=data,
            optimizer={"lr": 1e-4, "b2": 0.98, "warmup_steps": 10},
            train={"batch_size": rows},
        )
    )


def _tiny(stage: str, variant: str) -> Config:
    return _plain(
        "tiny", stage, variant, 8, max_text=6, max_length=14, max_answer=4, max_qformer_text=5,
        max_images=2,
    )  # fmt: skip


def _small_pairs() -> Config:
    return _plain("small", "stage0", "base", 32, max_text=32)


def _small_dialogue(variant: str) -> Config:
    # 32 image tokens and 64 of text.
    return _plain(
        "small", "stage2", variant, 16, max_length=96, max_answer=32, max_qformer_text=32
    )  # fmt: skip


def _quickstart(name: str) -> Callable[[], Config]:
    """Model, batch size, lengths and optimiser of `make quickstart`, taken from its recipe."""
    return lambda: validate(quickstart_config(name))


CASES: dict[str, Callable[[], Config]] = {
    "quickstart/stage0": _quickstart("stage0"),
    "quickstart/stage1_chat": _quickstart("stage1_chat"),
    "quickstart/stage2_base": _quickstart("stage2_base"),
    "quickstart/stage2_chat": _quickstart("stage2_chat"),
    "small/stage0": _small_pairs,
    "small/stage2_base": lambda: _small_dialogue("base"),
    "small/stage2_chat": lambda: _small_dialogue("chat"),
    "tiny/stage0": lambda: _tiny("stage0", "base"),
    "tiny/stage2_base": lambda: _tiny("stage2", "base"),
    "tiny/stage2_chat": lambda: _tiny("stage2", "chat"),
}


def case_config(name: str) -> Config:
    """The configuration of a case: float32, AdamW, without dropout, so that both sides compare.

    Raises:
        ConfigError: there is no such case.
    """
    if name not in CASES:
        raise unknown_name("case", name, CASES, "--cases", fix="--cases quickstart/stage0")
    config = CASES[name]()
    model = dataclasses.replace(
        config.model,
        dtype="float32",
        param_dtype="float32",
        vision=dataclasses.replace(config.model.vision, drop_path=0.0),
        qformer=dataclasses.replace(config.model.qformer, dropout=0.0),
        lora=dataclasses.replace(config.model.lora, dropout=0.0),
    )
    optimizer = dataclasses.replace(config.optimizer, name="adamw")
    return dataclasses.replace(config, model=model, optimizer=optimizer, init_from=())


def make_batch(config: Config, seed: int = 0) -> Batch:
    """One batch in the layout of the data pipeline, of random pixels and words.

    Rows are padded on the right, and filled between half and whole. In stage 0 rows 0 and 1 show
    the same image, so that shared targets and excluded negatives are part of the work.
    """
    rng = np.random.default_rng(seed)
    if config.stage.name == "stage0":
        return _pairs(config, rng)
    return _dialogue(config, rng)


def shapes(batch: Batch) -> dict[str, list[int]]:
    """For the record."""
    return {name: list(value.shape) for name, value in batch.items()}


def _pairs(config: Config, rng: np.random.Generator) -> Batch:
    rows, size = config.train.batch_size, config.model.vision.image_size
    ids, mask = _words(rng, rows, config.data.max_text, config.model.qformer.vocab_size)
    images = rng.integers(0, 256, (rows, size, size, 3), np.uint8)
    images[1] = images[0]
    return {
        "images": images,
        "text_ids": ids,
        "text_mask": mask,
        "text_learned": mask,
        "image_ids": np.array([0, 0, *range(2, rows)], np.int32),
        "dec_id": np.int32(DEC_ID),
    }


def _dialogue(config: Config, rng: np.random.Generator) -> Batch:
    """Every row holds `max_images` images, before its text; the answer ends the row."""
    data, model, rows = config.data, config.model, config.train.batch_size
    size, visual = model.vision.image_size, data.max_images * model.qformer.num_queries
    text, text_mask = _words(
        rng, rows, data.max_length - visual, min(model.llm.vocab_size, model.image_token_id)
    )
    placeholders = np.full((rows, visual), model.image_token_id, np.int32)
    ids = np.concatenate([placeholders, text], 1)
    mask = np.concatenate([placeholders > 0, text_mask], 1)
    end = mask.sum(1, keepdims=True)
    # One token of the text is the question at least.
    room = np.minimum(data.max_answer, end - visual - 1)
    answer = np.ceil(room * rng.uniform(FILLED, 1.0, (rows, 1))).astype(int)
    position = np.arange(data.max_length)
    labelled = (position >= end - answer) & (position < end)
    question, question_mask = _words(rng, rows, data.max_qformer_text, model.qformer.vocab_size)
    return {
        "images": rng.integers(0, 256, (rows, data.max_images, size, size, 3), np.uint8),
        "input_ids": ids,
        "attention_mask": mask,
        "labels": np.where(labelled, ids, -100).astype(np.int32),
        "qformer_input_ids": question,
        "qformer_attention_mask": question_mask,
    }


def _words(
    rng: np.random.Generator, rows: int, length: int, vocabulary: int
) -> tuple[np.ndarray, np.ndarray]:
    filled = rng.integers(max(2, int(length * FILLED)), length + 1, (rows, 1))
    mask = np.arange(length) < filled
    words = rng.integers(FIRST_WORD, vocabulary - 1, (rows, length), dtype=np.int32)
    return np.where(mask, words, 0).astype(np.int32), mask
