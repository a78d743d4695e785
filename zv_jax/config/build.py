"""A recipe becomes the configuration of a run: defaults, overrides, then fully checked, once.

A recipe in `configs/` returns an `ml_collections.ConfigDict` made by `recipe(...)`; the command
line overrides single fields (`--config.optimizer.lr=2e-5`); `validate` turns the result into the
frozen dataclasses of `schema`. Nothing else in the project reads a ConfigDict.
"""

from __future__ import annotations

import copy
import json
from typing import Any

import ml_collections

from zv_jax import stages
from zv_jax.config import checks
from zv_jax.config.engine import Engine, plain
from zv_jax.config.schema import Config
from zv_jax.models import presets, prompt

# The stages are those of `zv_jax.stages`.
CHOICES = {
    "stage.variant": ("base", "chat"),
    "stage.itm_negatives": ("hard", "random"),
    "stage.itm_pairs": ("both", "single"),
    "optimizer.name": ("adamw", "muon"),
    "optimizer.schedule": ("cosine", "constant"),
    "checkpoint.best_is": ("lowest", "highest"),
    "eval.on_error": ("report", "stop"),
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
    "train.random_bits": ("threefry2x32", "rbg", "unsafe_rbg"),
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


def _engine() -> Engine:
    """With the stages that there are by now."""
    return Engine(
        Config,
        flag="config",
        choices={"stage.name": stages.names(), **CHOICES},
        positive=POSITIVE,
        retired=RETIRED,
        start="recipe(PRESET) of zv_jax.config",
    )


def recipe(preset: str, **sections: Any) -> ml_collections.ConfigDict:
    """A full ConfigDict: the defaults of `schema`, the named architecture, then `sections`.

    Every field is present, so that any can be overridden and `zv config show` hides none.
    """
    return _engine().config_dict(Config(model=presets.preset(preset)), sections)


def to_dict(config: Config) -> dict:
    """Nested plain dictionary with JSON types only."""
    return json.loads(json.dumps(plain(config)))


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
    built = _engine().build(config)
    checks.check(built)
    return built
