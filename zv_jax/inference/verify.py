"""Compares two checkpoints on the same inputs, tower by tower and end to end.

The batch has rows with no, one and two images, in English and Chinese, of different lengths, so
that all but the longest are padded on the left.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zv_jax import trees
from zv_jax.checkpoints import contents
from zv_jax.data.text import dialogue
from zv_jax.data.text.dialogue import Exchange
from zv_jax.errors import ConversionError
from zv_jax.inference import sample
from zv_jax.inference.inputs import Inputs
from zv_jax.inference.model import Model, from_pretrained
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.tables import align

NEW_TOKENS = 32
TOLERANCE = 1e-4
_ROWS = (  # question, number of its images
    ("Who painted the ceiling of the chapel, and when?", 0),
    ("图里有什么？", 1),
    ("What is different between the two pictures? Answer in one sentence.", 2),
    ("请用一句话描述这两张图片。", 2),
)


@dataclass(frozen=True)
class Row:
    """One line of the comparison: the largest absolute difference and the largest value."""

    name: str
    difference: float
    largest: float


@dataclass(frozen=True)
class Comparison:
    """What `compare` found.

    Attributes:
        rows: towers, then the complete model.
        same_tokens: whether greedy answers agree in every token; None without a language model.
        same_ids: whether both tokenizers give the same ids; None if one is missing.
        same_prompts: whether both have the same prompt format; None without a language model.
    """

    rows: tuple[Row, ...]
    same_tokens: bool | None
    same_ids: bool | None
    same_prompts: bool | None

    def agrees(self, tolerance: float = TOLERANCE) -> bool:
        """Whether no value differs by more than `tolerance`, and no token differs."""
        close = all(row.difference <= tolerance for row in self.rows)
        return close and False not in (self.same_tokens, self.same_ids, self.same_prompts)

    def text(self) -> str:
        """Aligned lines for the terminal."""
        head = ("", "largest difference", "largest value")
        rows = [(r.name, f"{r.difference:.2e}", f"{r.largest:.3g}") for r in self.rows]
        lines = align([head, *rows], "lr")
        words = {True: "equal", False: "DIFFERENT", None: "not compared"}
        lines.append(f"greedy tokens ({NEW_TOKENS} a row): {words[self.same_tokens]}")
        lines.append(f"token ids of the texts: {words[self.same_ids]}")
        lines.append(f"format of the prompts: {words[self.same_prompts]}")
        return "\n".join(lines)


def compare(a: str | Path, b: str | Path, dtype: str = "float32", seed: int = 0) -> Comparison:
    """Compares the models at `a` and `b`, each in any form that `zv_jax.from_pretrained` reads.

    Each tower of `b` gets the output of the previous tower of `a`, so that a difference shows where
    it arises; the last line runs both models end to end.

    Raises:
        ConversionError: the models have different shapes.
        CheckpointError, ConversionError, DataError: one of them cannot be read.
    """
    one, other = from_pretrained(a, dtype), from_pretrained(b, dtype)
    _check_alike(one, other)
    inputs = _inputs(one, seed)
    compares = one.has_heads and not one.has_llm
    rows = _stage0(one, other, inputs) if compares else _answers(one, other, inputs)
    if not rows:
        raise ConversionError(
            "there is no complete tower to compare",
            where=str(a),
            expected="an image encoder or a language model",
        )
    prompts = [model.config.model.prompt for model in (one, other)]
    return Comparison(
        rows=tuple(rows),
        same_tokens=_same_tokens(one, other, inputs) if one.has_llm else None,
        same_ids=_same_ids(one, other),
        same_prompts=prompts[0] == prompts[1] if one.has_llm else None,
    )


def _check_alike(one: Model, other: Model) -> None:
    def shape(model: Model) -> dict[str, object]:
        flat = trees.flatten(model.variables["params"])
        m, carried = model.config.model, contents.beside(model.config)  # which others lack
        own = {path: leaf.shape for path, leaf in flat.items() if f"params/{path}" not in carried}
        return own | {
            "instructions in the Q-Former": m.qformer_sees_instruction,
            "image placeholder": m.image_token_id if model.has_llm else None,
        }

    mine, theirs = shape(one), shape(other)
    for part in [*mine, *theirs]:
        if mine.get(part) != theirs.get(part):
            raise ConversionError(
                f"the two models are not of one shape: {part} is {mine.get(part)} in the first",
                where=f"the second: {theirs.get(part)}",
                expected="two forms of one model",
                fix="compare a checkpoint with what it was converted to",
            )


# --- inputs ---------------------------------------------------------------------------------------


def _ids(model: Model, text: str, count: int, rng: np.random.Generator) -> list[int]:
    """`<image>` blocks, `<s>` and the prompt; seeded ids without a tokenizer."""
    m = model.config.model
    block = [m.image_token_id] * (count * m.qformer.num_queries)
    if model.tokenizer is None:
        return block + rng.integers(3, m.llm.vocab_size - 2, len(text) // 4 + 4).tolist()
    row = dialogue.prompt_row(
        [Exchange(text, images=tuple(range(count)))],
        model.tokenizer,
        num_queries=m.qformer.num_queries,
        image_token_id=m.image_token_id,
        max_length=sys.maxsize,  # cut by the caller
        prompt=m.prompt,
    )
    return row.input_ids


def _qformer_ids(model: Model, text: str, rng: np.random.Generator) -> list[int]:
    room = model.config.data.max_qformer_text
    if model.qformer_tokenizer is None:
        size = model.config.model.qformer.vocab_size
        return rng.integers(0, size, min(room, len(text) // 4 + 4)).tolist()
    asked = model.config.model.prompt.instruction(text)
    return dialogue.qformer_ids(asked, model.qformer_tokenizer, room)


def _inputs(one: Model, seed: int) -> dict[str, Any]:
    """float32 images [B, I, H, W, 3]; ids and masks of the language model and the Q-Former."""
    rng = np.random.default_rng(seed)
    size = one.config.model.vision.image_size
    most = max(count for _, count in _ROWS)
    out: dict[str, Any] = {"images": None, "text": (None, None)}
    if "vision" in one.towers:
        shape = (len(_ROWS), most, size, size, 3)
        out["images"] = rng.standard_normal(shape, np.float32)
    if one.has_llm:
        seen = most if out["images"] is not None else 0
        rows = [_ids(one, text, min(count, seen), rng) for text, count in _ROWS]
        room = one.config.model.llm.max_positions - NEW_TOKENS
        out["ids"], out["mask"] = dialogue.pad_left([row[-room:] for row in rows], 0)
    if one.config.model.qformer_sees_instruction and "qformer" in one.towers:
        rows = [_qformer_ids(one, text, rng) for text, _ in _ROWS]
        length = max(map(len, rows))
        out["text"] = dialogue.pad_right(rows, 0, length), dialogue.mask_of(rows, length)
    return out


def _same_ids(one: Model, other: Model) -> bool | None:
    tokenizers = (
        (one.tokenizer, other.tokenizer),
        (one.qformer_tokenizer, other.qformer_tokenizer),
    )
    pairs = [(a, b) for a, b in tokenizers if a is not None and b is not None]
    if not pairs:
        return None
    texts = [one.config.model.prompt.ask(text) for text, _ in _ROWS]
    return all(a.encode(text) == b.encode(text) for a, b in pairs for text in texts)


# --- towers ---------------------------------------------------------------------------------------


def _both(
    one: Model, other: Model, name: str, method: str | Callable, *arrays: Any
) -> tuple[Row, jax.Array]:
    """Runs a method of both models; returns the line, and the result of the first.

    Each has its own configuration: one may have adapters that are merged in the other.
    """

    @functools.partial(jax.jit, static_argnums=0)
    def run(cfg: ModelConfig, variables: Any, *given: Any) -> jax.Array:
        return ZiyaVisual(cfg).apply(variables, *given, method=method)

    mine, theirs = (run(model.config.model, model.variables, *arrays) for model in (one, other))
    a, b = (np.asarray(value, np.float32) for value in (mine, theirs))
    return Row(name, float(np.abs(a - b).max()), float(np.abs(a).max())), mine


def _flat_images(inputs: dict[str, Any]) -> tuple[np.ndarray, tuple[Any, Any]]:
    """All images as one batch, and the Q-Former's text repeated for each of a row."""
    images, (text, mask) = inputs["images"], inputs["text"]
    count = images.shape[1]
    flat = images.reshape(-1, *images.shape[2:])
    if text is None:
        return flat, (None, None)
    return flat, (np.repeat(text, count, 0), np.repeat(mask, count, 0))


def _stage0(one: Model, other: Model, inputs: dict[str, Any]) -> list[Row]:
    images, (text, mask) = _flat_images(inputs)
    vision, features = _both(one, other, "image encoder", "encode_images", images)
    return [
        vision,
        _both(one, other, "Q-Former, image half", "query", features)[0],
        _both(one, other, "Q-Former, text half", "text_embed", text, mask)[0],
        _both(one, other, "image-text matching", "match", features, text, mask)[0],
        _both(one, other, "all, images to embeddings", "image_embed", images)[0],
    ]


def _answers(one: Model, other: Model, inputs: dict[str, Any]) -> list[Row]:
    rows, visual = [], None
    if inputs["images"] is not None:
        images, (text, mask) = _flat_images(inputs)
        row, features = _both(one, other, "image encoder", "encode_images", images)
        rows.append(row)
        if "qformer" not in one.towers:
            return rows
        row, queries = _both(one, other, "Q-Former", "query", features, text, mask)
        rows.append(row)
        row, projected = _both(one, other, "projection", lambda m, q: m.projector(q), queries)
        rows.append(row)
        visual = jnp.reshape(projected, (len(_ROWS), -1, projected.shape[-1]))
    if not one.has_llm:
        return rows

    def logits(model: ZiyaVisual, visual: Any, ids: Any, mask: Any) -> jax.Array:
        return jnp.where(mask[..., None], model.llm.logits(model.hidden(visual, ids, mask)), 0)

    ids, mask = inputs["ids"], inputs["mask"]
    rows.append(_both(one, other, "language model", logits, visual, ids, mask)[0])

    def whole(
        model: ZiyaVisual, images: Any, ids: Any, mask: Any, text: Any, seen: Any
    ) -> jax.Array:
        return jnp.where(mask[..., None], model(images, ids, mask, text, seen), 0)

    given = inputs["images"], ids, mask, *inputs["text"]
    rows.append(_both(one, other, "all, images to logits", whole, *given)[0])
    return rows


def _same_tokens(one: Model, other: Model, inputs: dict[str, Any]) -> bool:
    eos = one.tokenizer.eos_id if one.tokenizer else 2
    mine, theirs = (
        sample.generate(
            model.variables,
            Inputs(inputs["images"], inputs["ids"], inputs["mask"], *inputs["text"]),
            np.zeros((len(_ROWS), 1), np.uint32),
            cfg=model.config.model,
            max_new_tokens=NEW_TOKENS,
            stop=np.array([eos], np.int32),
            pad_id=0,
        ).tokens
        for model in (one, other)
    )
    return bool(np.array_equal(np.asarray(mine), np.asarray(theirs)))


class DifferentModels(ConversionError):
    """The two models were compared and differ."""

    exit_code = 1  # a finding, as for `diff`, not a fault of the input


def check(a: str | Path, b: str | Path, tolerance: float, dtype: str) -> str:
    """The comparison as text.

    Raises:
        DifferentModels: the two differ by more than `tolerance`; it contains the text.
    """
    found = compare(a, b, dtype)
    if not found.agrees(tolerance):
        raise DifferentModels(
            f"the two models differ\n{found.text()}",
            where=f"{a} and {b}",
            expected=f"differences of at most {tolerance:g} and equal tokens",
        )
    return found.text()
