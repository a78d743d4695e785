"""A recipe becomes a configuration: defaults, overrides, then frozen and fully checked, once.

A recipe in `configs/` returns an `ml_collections.ConfigDict` made by `recipe(...)`; the command
line overrides single fields (`--config.optimizer.lr=2e-5`); `validate` turns the result into the
frozen dataclasses of `schema`. Nothing else in the project reads a ConfigDict.
"""

from __future__ import annotations

import copy
import dataclasses
import difflib
import json
import types
import typing
from typing import Any

import ml_collections

from zv_jax import stages
from zv_jax.config import checks
from zv_jax.config.schema import Config
from zv_jax.errors import ConfigError
from zv_jax.models import presets, prompt

# The stages are those of `zv_jax.stages`.
CHOICES = {
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
    for path, allowed in {"stage.name": stages.names(), **CHOICES}.items():
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
    checks.check(built)
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
