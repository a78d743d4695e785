"""The configuration of a run: every field, its default and its check, in one place.

A recipe in `configs/` returns an `ml_collections.ConfigDict` made by `recipe(...)`; the command
line overrides single fields (`--config.optimizer.lr=2e-5`); `validate` turns the result into the
frozen dataclasses below, once. Nothing else in the project reads a ConfigDict.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
import types
import typing
from dataclasses import dataclass, field
from typing import Any

import ml_collections

from zv_jax import config_checks
from zv_jax.errors import ConfigError
from zv_jax.models import presets, prompt
from zv_jax.models.presets import ModelConfig


@dataclass(frozen=True)
class StageConfig:
    """Which stage of the paper runs; what that trains and feeds is in `training/stages.py`."""

    name: str = "stage0"  # language | vision | stage0 | stage1 | stage2
    variant: str = "chat"  # base | chat
    train_vision: bool = False  # stage 0 only: train the ViT too (it has no pre-trained weights)
    label_smoothing: float = 0.1
    itc_gather_grad: bool = True  # False: the candidate side carries no gradient, as in LAVIS
    itm_negatives: str = "hard"  # hard | random
    itm_pairs: str = "both"  # both: one negative image and one negative text; single: one pair
    itm_group: int = 0  # consecutive rows among which negatives are sought; 0: the whole batch


@dataclass(frozen=True)
class SourceConfig:
    """One source of records and its weight in the mixture."""

    name: str = "zv_openmoji"
    path: str = ""  # empty: the source's own place in the cache
    image_root: str = ""  # what image paths are relative to; empty: the folder of the record file
    split: str = "train"
    weight: float = 1.0
    tasks: tuple[str, ...] = ()  # empty: all
    langs: tuple[str, ...] = ("en", "zh")
    # Smaller rows than those of `data`; sources with rows of one size fill batches together.
    max_length: int = 0  # 0: data.max_length
    max_images: int = 0  # 0: data.max_images


@dataclass(frozen=True)
class TokenizerConfig:
    """`kind` is sentencepiece (a .model file), bert (a vocab.txt) or hf (a tokenizer.json)."""

    kind: str = "sentencepiece"
    path: str = ""  # empty: train one on the sources, of `vocab_size` pieces
    vocab_size: int = 2048


@dataclass(frozen=True)
class DataConfig:
    sources: tuple[SourceConfig, ...] = (SourceConfig(),)
    mixing: str = "weights"  # weights | sqrt_size | size: weight x size ** 0, 0.5 or 1
    paper_mixture: bool = False  # let evaluation splits be learned, with a warning
    tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    qformer_tokenizer: TokenizerConfig = field(default_factory=TokenizerConfig)
    max_text: int = 32  # tokens of a text paired with an image (stage 0)
    max_length: int = 512  # tokens of a dialogue, image placeholders included
    max_answer: int = 256  # tokens of one answer, its end counted
    long_answers: str = "drop"  # drop: are not learned; cut: their beginning is, without an end
    max_qformer_text: int = 128  # tokens of an instruction in the Q-Former
    max_images: int = 1  # images in one row
    box_decimals: int = 3
    transparency: str = "white"  # white: clear parts are white; black: as LAVIS, alpha is dropped
    cache_images: bool = False  # keep decoded, resized images in memory
    max_bad: float = 0.01  # share of a source's samples that others may replace
    workers: int = 0  # processes that prepare batches; 0: threads of this one


@dataclass(frozen=True)
class OptimizerConfig:
    """AdamW, or Muon for the matrices; 1-D leaves and the temperature never decay.

    Muon takes the learning rate and the decay of AdamW; its momentum is 0.95, not `b1` of Adam.
    """

    name: str = "adamw"  # adamw | muon
    lr: float = 1e-5
    b1: float = 0.9
    b2: float = 0.9
    eps: float = 1e-8
    weight_decay: float = 0.05
    clip_norm: float = 2.0
    warmup_steps: int = 0
    schedule: str = "cosine"  # cosine | constant
    final_lr: float = 0.0


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 takes what the others leave."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    slices: int = 1  # of a pod; they are joined along data


@dataclass(frozen=True)
class TrainConfig:
    """Steps, and how one is computed; only int8 changes the numbers, by its rounding."""

    steps: int = 1000
    batch_size: int = 64  # global
    microbatches: int = 1  # parts a batch is computed in, one after the other
    loss_chunks: int = 1  # parts the output layer runs in, over positions of a row
    frozen_dtype: str = "compute"  # compute: as model.dtype; int8: weight-only, about half of bf16
    log_every: int = 10


@dataclass(frozen=True)
class CheckpointConfig:
    """The latest `keep` steps stay and, beside them, the `best` ones by a metric of the step."""

    folder: str = ""  # another place than `workdir/checkpoints`, as gs://bucket/run
    every: int = 500
    keep: int = 2
    best: int = 0
    metric: str = "loss"  # any name in metrics.jsonl
    best_is: str = "lowest"  # lowest | highest


@dataclass(frozen=True)
class GuardConfig:
    """What skips an update, and what ends a run that makes no progress."""

    spike_sigma: float = 0.0  # skip above so many standard deviations; 0: only what is not finite
    spike_window: int = 128  # of that many steps
    max_skipped: int = 10  # in a row, before the run stops
    hang_seconds: float = 1800.0  # without a step, before it is ended; 0: never


@dataclass(frozen=True)
class EvalConfig:
    """Scores while training, on `split` of the first source: `eval/task/language/metric`."""

    every: int = 0  # steps; 0: never
    tasks: tuple[str, ...] = ()  # empty: what the stage teaches
    langs: tuple[str, ...] = ("en", "zh")
    limit: int = 64  # records per task and language, the first ones; 0: all
    batch_size: int = 64
    max_new_tokens: int = 32
    controls: bool = False  # also with other pictures: who ignores them scores the same
    split: str = "val"


@dataclass(frozen=True)
class Config:
    """Everything that decides a run."""

    model: ModelConfig
    stage: StageConfig = field(default_factory=StageConfig)
    data: DataConfig = field(default_factory=DataConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    guards: GuardConfig = field(default_factory=GuardConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    init_from: tuple[str, ...] = ()  # workdirs or checkpoints; where both have a leaf the last wins
    seed: int = 0


CHOICES = {
    "stage.name": ("language", "vision", "stage0", "stage1", "stage2"),
    "stage.variant": ("base", "chat"),
    "stage.itm_negatives": ("hard", "random"),
    "stage.itm_pairs": ("both", "single"),
    "optimizer.name": ("adamw", "muon"),
    "optimizer.schedule": ("cosine", "constant"),
    "checkpoint.best_is": ("lowest", "highest"),
    "data.long_answers": ("drop", "cut"),
    "data.transparency": ("white", "black"),
    "data.tokenizer.kind": ("sentencepiece", "bert", "hf"),
    "data.qformer_tokenizer.kind": ("sentencepiece", "bert", "hf"),
    "model.vision.family": ("eva", "clip"),
    "model.llm.rope_scaling.kind": presets.ROPE_SCALINGS,
    "model.prompt.format": (*prompt.FORMATS, prompt.OWN),
    "model.prompt.qformer_text": prompt.QFORMER_TEXTS,
    "model.dtype": presets.DTYPES,
    "model.param_dtype": presets.DTYPES,
    "model.remat": presets.REMAT_POLICIES,
    "train.frozen_dtype": ("compute", "int8"),
}
# Fields of earlier versions, which checkpoints still hold, and what became of them.
RETIRED = {
    "model.attention": "remove it: it had one value, and nothing read it; attention takes cuDNN's "
    "kernel on GPUs in bfloat16 where that fits, and XLA's everywhere else",
}
# What runs did that were begun before these fields existed, where the default is another by now.
BEFORE = {"data.transparency": "black", "model.prompt.qformer_text": "question"}
POSITIVE = (
    "train.steps",
    "train.batch_size",
    "train.log_every",
    "mesh.slices",
    "train.microbatches",
    "train.loss_chunks",
    "checkpoint.every",
    "checkpoint.keep",
    "guards.spike_window",
    "guards.max_skipped",
    "data.max_text",
    "data.max_length",
    "data.max_images",
    "eval.batch_size",
    "eval.max_new_tokens",
    "optimizer.lr",
    "model.lora.rank",
    "model.llm.rope_theta",
    "model.llm.rope_scaling.factor",
)


def labelled_tokens(config: Config, length: int) -> int:
    """How many tokens of a row of `length` may carry loss: those of one answer where only the last
    is learned (stages 1 and 2 of Chat), else all."""
    stage = config.stage
    only_last = stage.name in ("stage1", "stage2") and stage.variant == "chat"
    return min(config.data.max_answer, length) if only_last else length


def recipe(preset: str, **sections: dict[str, Any]) -> ml_collections.ConfigDict:
    """A full ConfigDict: the defaults above, the named architecture, then `sections`.

    Every field is present, so that any can be overridden and `zv config show` hides none.
    """
    config = Config(model=presets.preset(preset))
    plain = _plain(config)
    for name, values in sections.items():
        if isinstance(values, dict):
            _merge(plain, name, values)
        else:
            plain[name] = values
    return ml_collections.ConfigDict(plain, convert_dict=True)


def _merge(plain: dict, name: str, values: dict) -> None:
    if name not in plain:
        raise _unknown(name, list(plain))
    for key, value in values.items():
        if key not in plain[name]:
            raise _unknown(f"{name}.{key}", [f"{name}.{k}" for k in plain[name]])
        if isinstance(value, dict) and isinstance(plain[name][key], dict):
            _merge(plain[name], key, value)
        else:
            plain[name][key] = value


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return value


def to_dict(config: Config) -> dict:
    """Nested plain dictionary with JSON types only."""
    return json.loads(json.dumps(_plain(config)))


def of_checkpoint(stored: dict[str, Any]) -> dict[str, Any]:
    """The configuration in a checkpoint, with what runs did that do not know a field: `BEFORE`."""
    whole = copy.deepcopy(stored)
    for path, value in BEFORE.items():
        *sections, name = path.split(".")
        section = whole
        for part in sections:
            section = section.setdefault(part, {}) if isinstance(section, dict) else None
        if isinstance(section, dict):  # else `validate` says what it is
            section.setdefault(name, value)
    return whole


def validate(config: ml_collections.ConfigDict | dict) -> Config:
    """Frozen, fully checked configuration; fields that are `RETIRED` are left out.

    Raises:
        ConfigError: an unknown field, a wrong type or a value out of range; it names the field,
            the value, what was expected and the nearest valid name.
    """
    plain = config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config)
    built = _build(Config, plain, "")
    for path, allowed in CHOICES.items():
        value = _get(built, path)
        if value not in allowed:
            near = difflib.get_close_matches(str(value), allowed, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"set --config.{path}={allowed[0]}"
            raise ConfigError(
                f"{value!r} is not valid",
                where=path,
                expected="one of " + ", ".join(allowed),
                fix=hint,
            )
    for path in POSITIVE:
        if _get(built, path) <= 0:
            raise ConfigError(
                f"{_get(built, path)!r} is not valid",
                where=path,
                expected="a number above 0",
                fix=f"set --config.{path}=...",
            )
    config_checks.check(built)
    return built


def _get(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = getattr(config, part)
    return config


def _unknown(path: str, known: list[str]) -> ConfigError:
    if path in RETIRED:
        return ConfigError(
            "this field no longer exists",
            where=path,
            expected="one of " + ", ".join(known),
            fix=RETIRED[path],
        )
    near = difflib.get_close_matches(path, known, 1, 0.4)
    return ConfigError(
        "unknown configuration field",
        where=path,
        expected="one of " + ", ".join(known),
        fix=f"did you mean {near[0]!r}?" if near else "remove it",
    )


def _build(cls: type, values: Any, path: str) -> Any:
    if not isinstance(values, (dict, ml_collections.ConfigDict)):
        raise ConfigError(
            f"{values!r} is not a section",
            where=path or "config",
            expected=f"the fields of {cls.__name__}",
            fix="give a dictionary",
        )
    hints = typing.get_type_hints(cls)
    dotted = f"{path}." if path else ""
    values = {key: value for key, value in values.items() if dotted + key not in RETIRED}
    for key in values:
        if key not in hints:
            raise _unknown(dotted + key, [dotted + name for name in hints])
    for part in dataclasses.fields(cls):
        needed = part.default is part.default_factory is dataclasses.MISSING
        if needed and part.name not in values:
            raise ConfigError(
                "this part of the configuration is missing",
                where=dotted + part.name,
                expected=f"the fields of {cls.__name__}",
                fix="begin with recipe(PRESET) of zv_jax.config, which has every field",
            )
    return cls(**{k: _convert(hints[k], v, dotted + k) for k, v in values.items()})


def _convert(kind: Any, value: Any, path: str) -> Any:
    if dataclasses.is_dataclass(kind):
        return _build(kind, value, path)
    if typing.get_origin(kind) in (tuple, types.GenericAlias):
        if isinstance(value, str):
            value = tuple(v for v in value.split(",") if v)
        if not isinstance(value, (tuple, list)):
            raise _wrong(path, value, "a list")
        inner = typing.get_args(kind)[0]
        return tuple(_convert(inner, v, f"{path}[{i}]") for i, v in enumerate(value))
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _wrong(
            path,
            value,
            {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}[
                kind.__name__
            ],
        )
    return value


def _wrong(path: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"{value!r} is a {type(value).__name__}",
        where=path,
        expected=expected,
        fix=f"set --config.{path}={expected.split()[-1].upper()}",
    )
