"""The configuration of an evaluation suite: every field, its default and its check."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_collections

from zv_jax.errors import ConfigError, ZvError, unknown_name
from zv_jax.evaluation.tasks.registry import TASKS

LANGS = ("en", "zh")
CONTROLS = ("untrained", "shuffled_images", "most_frequent", "chance")


@dataclass(frozen=True)
class SuiteSource:
    """Which records are evaluated, and which the most frequent answers are counted on."""

    name: str = "zv_openmoji"
    path: str = ""  # empty: the source's own place in the cache
    split: str = "test"
    train_split: str = "train"


def _per_task() -> dict[str, int]:
    return dict.fromkeys(TASKS, 0)


@dataclass(frozen=True)
class SuiteConfig:
    """Everything that decides a run of a suite. Where a number is a limit, 0 means no limit."""

    tasks: tuple[str, ...] = ()  # empty: what the checkpoint's stage teaches
    langs: tuple[str, ...] = LANGS
    limit: int = 0  # records per task and language, the first ones of the split
    limits: Mapping[str, int] = field(default_factory=_per_task)  # per task, before `limit`
    max_new_tokens: Mapping[str, int] = field(default_factory=_per_task)  # 0: the task's own
    batch_size: int = 64  # rows of every call of the model, the last one filled up
    controls: tuple[str, ...] = CONTROLS
    control_limit: int = 0  # records per task and language with shuffled images
    untrained_limit: int = 0  # records per task and language for the untrained model
    train_limit: int = 0  # training records of a task and language counted for most_frequent
    rerank_k: int = 0  # best candidates ranked again by image-text matching; 0: none
    rerank_limit: int = 0  # queries per direction ranked again
    sample_limit: int = 0  # rows per task and language in samples.jsonl
    attention_images: int = 4  # pictures with maps of the queries' attention; 0: none
    seed: int = 0  # of the derangement and of the bootstrap
    source: SuiteSource = field(default_factory=SuiteSource)

    def limit_of(self, task: str) -> int:
        """Records per language of a task; 0 means all."""
        return self.limits[task] or self.limit


def suite(**fields: Any) -> ml_collections.ConfigDict:
    """A ConfigDict with every field, so that any can be overridden; per-task tables are merged.

    Raises:
      ConfigError: an unknown field.
    """
    plain = dataclasses.asdict(SuiteConfig())
    check_names(fields, plain)
    for name, value in fields.items():
        if isinstance(value, dict):
            for key in value:
                if key not in plain[name]:
                    raise _unknown(f"{name}.{key}", [f"{name}.{k}" for k in plain[name]])
            plain[name] |= value
        else:
            plain[name] = value
    return ml_collections.ConfigDict(plain)


def check_names(given: Mapping, known: Mapping) -> None:
    """Refuses a field that is not known.

    Raises:
      ConfigError: naming it and the nearest valid one.
    """
    for name in given:
        if name not in known:
            raise _unknown(name, known)


def checked(config: ml_collections.ConfigDict | Mapping, defaults: Mapping) -> dict[str, Any]:
    """The given fields over the defaults, each of its default's type.

    Raises:
      ConfigError: an unknown field, or a value of another type.
    """
    given = config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config)
    return _checked(given, defaults, "")


def validate(config: ml_collections.ConfigDict | Mapping) -> SuiteConfig:
    """The frozen, fully checked suite.

    Raises:
      ConfigError: an unknown field, a wrong type or value; it names the field, the value, what was
        expected and the nearest valid name.
    """
    fields = checked(config, dataclasses.asdict(SuiteConfig()))
    fields["source"] = SuiteSource(**fields["source"])
    for name, valid in (("tasks", tuple(TASKS)), ("langs", LANGS), ("controls", CONTROLS)):
        for value in fields[name]:
            if value not in valid:
                raise unknown_name(
                    name[:-1], value, valid, f"suite.{name}", fix=f"set --suite.{name}={valid[0]}"
                )
    if not fields["langs"]:
        raise _wrong("langs", (), "at least one of " + ", ".join(LANGS))
    if fields["batch_size"] < 1:
        raise _wrong("batch_size", fields["batch_size"], "a whole number above 0")
    return SuiteConfig(**fields)


def _checked(given: Mapping, default: Mapping, path: str) -> dict[str, Any]:
    """`given` over `default`, every value of the default's type."""
    for key in given:
        if key not in default:
            raise _unknown(path + key, [path + name for name in default])
    return {
        key: _value(given[key], standard, path + key) if key in given else standard
        for key, standard in default.items()
    }


def _value(value: Any, standard: Any, path: str) -> Any:
    if isinstance(standard, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(path, value, "a section with " + ", ".join(standard))
        return _checked(value, standard, path + ".")
    if isinstance(standard, tuple):
        if isinstance(value, str):
            value = [part.strip() for part in value.split(",") if part.strip()]
        if not isinstance(value, list | tuple) or not all(isinstance(v, str) for v in value):
            raise _wrong(path, value, "a list of names")
        return tuple(value)
    if isinstance(standard, int):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise _wrong(path, value, "a whole number of at least 0")
        return value
    if not isinstance(value, str):
        raise _wrong(path, value, "text")
    return value


def _unknown(path: str, known: Any) -> ZvError:
    return unknown_name("field", path, known, f"suite.{path}", fix="rename or remove it")


def _wrong(path: str, value: Any, expected: str) -> ConfigError:
    return ConfigError(
        f"{value!r} is not valid",
        where=f"suite.{path}",
        expected=expected,
        fix=f"set --suite.{path}=...",
    )
