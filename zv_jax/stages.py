"""The stages of the paper (section 3.3) as one table: what trains, on which loss.

| stage    | variant | trains                                               | loss            |
|----------|---------|------------------------------------------------------|-----------------|
| language | both    | the LLM (only without a pre-trained one)             | LM on text      |
| vision   | both    | the ViT and ln_vision (likewise)                     | symbols + words |
| stage0   | both    | queries, Q-Former, heads, ln_vision (ViT on request) | ITC + ITM + ITG |
| stage1   | Base    | projector                                            | LM on answers   |
| stage1   | Chat    | Q-Former, ln_vision, projector                       | LM on answers   |
| stage2   | Base    | Q-Former, ln_vision, projector                       | LM on answers   |
| stage2   | Chat    | the same, and LoRA in ViT and LLM                    | LM on answers   |

Stage 0 trains on image-text pairs, stage 1 on instructions, stage 2 on dialogues; in Chat the
Q-Former also reads the instruction. ln_vision trains with the Q-Former, as in LAVIS, where it is
not part of the frozen ViT; `stage.train_ln_vision=False` freezes it, for an ablation.

Dropout follows this table too: frozen modules have none, as in LAVIS, which keeps them in
evaluation mode. The ViT and LLM of stage 2 Chat are frozen except for their adapters, so the
adapters have dropout (LoRA's, as in PEFT) and the layers under them none: no `vision.drop_path`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from zv_jax.errors import ConfigError
from zv_jax.models.presets import LoraConfig, ModelConfig
from zv_jax.warmup.symbols import PATCH_SYMBOLS, SYMBOL_TOKENS

if TYPE_CHECKING:
    from zv_jax.config.schema import Config

QFORMER = r"params/(ln_vision|qformer)/.*"
ONLY_QFORMER = r"params/qformer/.*"


@dataclass(frozen=True)
class Stage:
    """One row of the table.

    Attributes:
        batch: the kind of batch, a name in `BATCHES`, under which the data pipeline registers how
            to make it and training its loss.
        losses: the loss is the sum of the means of these terms.
        trainable: full-match patterns of parameter paths.
        adapters: whether the model has LoRA adapters.
        use: the use of its checkpoints, a name in `models.parameters.USES`: "answers",
            "comparisons", or "" for a warm-up, which trains only part of a model.
        one_answer: whether a sample is one answer of a record and only that answer carries loss;
            otherwise a sample is the complete record.
        qformer_text: the field of `data` that limits the texts of the Q-Former; "": it reads none.
        own_start: whether `warmup.start` initialises the language model.
    """

    batch: str
    losses: tuple[str, ...]
    trainable: tuple[str, ...]
    adapters: bool = False
    use: str = ""
    one_answer: bool = False
    qformer_text: str = ""
    own_start: bool = False

    @property
    def compares(self) -> bool:
        """Whether its checkpoints compare images with texts."""
        return self.use == "comparisons"

    @property
    def speaks(self) -> bool:
        """Whether a language model reads prompts."""
        return "lm" in self.losses


STAGES: dict[tuple[str, str], Stage] = {}
for _variant in ("base", "chat"):
    STAGES["language", _variant] = Stage("texts", ("lm",), (r"params/llm/.*",), own_start=True)
    STAGES["vision", _variant] = Stage(
        "patches", ("symbols", "words"), (r"params/(vision|ln_vision|patch_head)/.*",)
    )
    STAGES["stage0", _variant] = Stage(
        "pairs",
        ("itc", "itm", "itg"),
        (QFORMER, r"params/heads/.*"),
        use="comparisons",
        qformer_text="max_text",
    )
_BASE = Stage("dialogues", ("lm",), (r"params/projector/.*",), use="answers")
_CHAT = dataclasses.replace(
    _BASE,
    trainable=(QFORMER, r"params/projector/.*"),
    one_answer=True,
    qformer_text="max_qformer_text",
)
STAGES["stage1", "base"] = _BASE
STAGES["stage1", "chat"] = _CHAT
STAGES["stage2", "base"] = dataclasses.replace(_BASE, trainable=_CHAT.trainable)
STAGES["stage2", "chat"] = dataclasses.replace(
    _CHAT, trainable=(*_CHAT.trainable, r"lora/(vision|llm)/.*"), adapters=True
)


class ArraySpec(NamedTuple):
    """Shape and dtype of one array of a batch; the first axis is rows, a scalar serves all rows."""

    shape: tuple[int, ...]
    dtype: np.dtype


BatchSpec = dict[str, ArraySpec]


def _of_rows(config: Config, **arrays: tuple) -> BatchSpec:
    """A spec from `name=(dtype, *shape of a row)`."""
    return {
        name: ArraySpec((config.train.batch_size, *shape), np.dtype(dtype))
        for name, (dtype, *shape) in arrays.items()
    }


def _text(config: Config) -> BatchSpec:
    length = config.data.max_length
    return _of_rows(
        config,
        input_ids=(np.int32, length),
        attention_mask=(np.bool_, length),
        labels=(np.int32, length),
    )


def _texts(config: Config) -> BatchSpec:
    places = config.data.max_images * config.model.qformer.num_queries
    return _text(config) | _of_rows(config, symbols=(np.int32, places, SYMBOL_TOKENS))


def _patches(config: Config) -> BatchSpec:
    size = config.model.vision.image_size
    patches = (size // config.model.vision.patch_size) ** 2
    return _of_rows(
        config,
        images=(np.uint8, size, size, 3),
        symbols=(np.int32, PATCH_SYMBOLS * patches, SYMBOL_TOKENS),
    )


def _pairs(config: Config) -> BatchSpec:
    size, length = config.model.vision.image_size, config.data.max_text
    rows = _of_rows(
        config,
        images=(np.uint8, size, size, 3),
        text_ids=(np.int32, length),
        text_mask=(np.bool_, length),
        text_learned=(np.bool_, length),
        image_ids=(np.int32,),
    )
    return rows | {"dec_id": ArraySpec((), np.dtype(np.int32))}


def _dialogues(config: Config) -> BatchSpec:
    size, data = config.model.vision.image_size, config.data
    return _text(config) | _of_rows(
        config,
        images=(np.uint8, data.max_images, size, size, 3),
        qformer_input_ids=(np.int32, data.max_qformer_text),
        qformer_attention_mask=(np.bool_, data.max_qformer_text),
    )


# The arrays of every kind of batch, at the largest size that the configuration allows.
BATCHES: dict[str, Callable[[Config], BatchSpec]] = {
    "texts": _texts,
    "patches": _patches,
    "pairs": _pairs,
    "dialogues": _dialogues,
}


def batch_spec(config: Config) -> BatchSpec:
    """Shapes and dtypes of the largest global batch that a step of `config` takes."""
    return BATCHES[stage_of(config).batch](config)


def images_per_row(config: Config) -> int:
    """Images of the longest row, padding included."""
    images = batch_spec(config).get("images")
    if images is None:
        return 0
    _, *places, _, _, _ = images.shape
    return places[0] if places else 1


def tokens_per_row(config: Config) -> int:
    """Positions of the longest row that pass through a text model; 0 where there is no text."""
    spec = batch_spec(config)
    mask = spec.get("attention_mask", spec.get("text_mask"))
    return 0 if mask is None else mask.shape[1]


def labelled_tokens(config: Config, length: int) -> int:
    """Most tokens of a row of `length` that can carry loss: those of one answer in stages 1 and 2
    of Chat, else all."""
    return min(config.data.max_answer, length) if stage_of(config).one_answer else length


def names() -> tuple[str, ...]:
    """The stages, in the order of the table."""
    return tuple(dict.fromkeys(name for name, _ in STAGES))


def has_variants(name: str) -> bool:
    """Whether Base and Chat train differently in the stage called `name`."""
    return len({row for (stage, _), row in STAGES.items() if stage == name}) > 1


def stage_of(config: Config) -> Stage:
    """The row of the table for `config.stage`.

    Raises:
        ConfigError: `train_vision` is set in a stage other than 0.
    """
    stage = STAGES[config.stage.name, config.stage.variant]
    if config.stage.train_vision:
        if config.stage.name != "stage0":  # later stages keep the pre-trained ViT
            raise ConfigError(
                "all of the ViT can train only in stage 0",
                where="stage.train_vision",
                expected="False in " + config.stage.name,
                fix="use stage2 chat for LoRA on the ViT",
            )
        stage = dataclasses.replace(stage, trainable=(*stage.trainable, r"params/vision/.*"))
    if not config.stage.train_ln_vision:
        only = tuple(ONLY_QFORMER if t == QFORMER else t for t in stage.trainable)
        stage = dataclasses.replace(stage, trainable=only)
    return stage


def stage_model(config: Config) -> ModelConfig:
    """The architecture of this stage: Base or Chat, with adapters only where they train."""
    stage = stage_of(config)
    model = dataclasses.replace(
        config.model, qformer_sees_instruction=config.stage.variant == "chat"
    )
    if not stage.adapters:
        return dataclasses.replace(model, lora=LoraConfig())
    if not model.lora.targets:
        raise ConfigError(
            "this stage trains adapters and the model has none",
            where="model.lora.targets",
            expected="a pattern of layer paths",
            fix="use a preset whose name ends in _chat or set the field",
        )
    return model


def split(paths: Iterable[str], stage: Stage) -> tuple[list[str], list[str]]:
    """Parameter paths as (trainable, frozen).

    Raises:
        ConfigError: a pattern matches no parameter.
    """
    paths = list(paths)
    for pattern in stage.trainable:
        if not any(re.fullmatch(pattern, path) for path in paths):
            raise ConfigError(
                f"the trainable pattern {pattern!r} matches no parameter",
                where="stage",
                expected="at least one of the model's parameters",
                fix="check model.lora.targets and the model preset",
            )
    trainable = [p for p in paths if any(re.fullmatch(t, p) for t in stage.trainable)]
    chosen = set(trainable)
    return trainable, [p for p in paths if p not in chosen]


def frozen_parts(trainable: Iterable[str], frozen: Iterable[str]) -> frozenset[str]:
    """Fully frozen parts of a model, as `ZiyaVisual.frozen` names them: "params/qformer"."""
    parts = [{"/".join(path.split("/")[:2]) for path in paths} for paths in (trainable, frozen)]
    return frozenset(parts[1] - parts[0])
