"""The configuration of an evaluation suite: every field, its default and its check."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_collections

from zv_jax.config.engine import Engine
from zv_jax.errors import ConfigError
from zv_jax.evaluation import task as task_lib
from zv_jax.evaluation.data import STAND_IN
from zv_jax.evaluation.task import CONTROLS, Task

LANGS = ("en", "zh")


@dataclass(frozen=True)
class SuiteSource:
    """Other records for the tasks of the embedded data set; what is empty is as the task says."""

    name: str = ""
    path: str = ""  # empty: the source's own place in the cache
    image_root: str = ""  # what image paths are relative to; empty: the folder of the record file
    split: str = ""
    train_split: str = ""


def _per_task() -> dict[str, int]:
    return dict.fromkeys(task_lib.names(), 0)


@dataclass(frozen=True)
class SuiteConfig:
    """Everything that decides a run of a suite. Where a number is a limit, 0 means no limit."""

    tasks: tuple[str, ...] = ()  # empty: what the checkpoint's stage teaches
    langs: tuple[str, ...] = LANGS
    data: str = "data"  # holds a folder for each public data set, in its published layout
    stand_in: str = ""  # zv_openmoji: records of the same kind from the embedded data set
    source: SuiteSource = field(default_factory=SuiteSource)
    limit: int = 0  # records per task and language, the first ones of the split
    limits: Mapping[str, int] = field(default_factory=_per_task)  # per task, before `limit`
    max_new_tokens: Mapping[str, int] = field(default_factory=_per_task)  # 0: the task's own
    batch_size: int = 64  # rows of every call of the model, the last one filled up
    permutations: int = 0  # further orders of the options that are ranked
    controls: tuple[str, ...] = CONTROLS
    control_limit: int = 0  # records per task and language with shuffled images
    untrained_limit: int = 0  # records per task and language for the untrained model
    train_limit: int = 0  # training records of a task and language counted for most_frequent
    retrieval_checkpoint: str = ""  # one with heads; empty: the evaluated one, if it has them
    rerank_k: int = 0  # best candidates ranked again by image-text matching; 0: none
    rerank_limit: int = 0  # queries per direction ranked again
    sample_limit: int = 0  # rows per task and language in samples.jsonl
    attention_images: int = 4  # images with maps of the queries' attention; 0: none
    seed: int = 0  # of the derangement, of the orders of options and of the bootstrap

    def limit_of(self, task: str) -> int:
        """Records per language of a task; 0 means all."""
        return self.limits.get(task) or self.limit

    def task(self, name: str) -> Task:
        """A task with the longest answer and the records that this suite asks for."""
        task = task_lib.load(name).no_longer(self.max_new_tokens[name])
        if task.expected:
            return task
        given = {
            "dataset": self.source.name,
            "split": self.source.split,
            "train_split": self.source.train_split,
        }
        return dataclasses.replace(task, **{key: value for key, value in given.items() if value})


def _engine() -> Engine:
    return Engine(
        SuiteConfig,
        flag="suite",
        prefix="suite.",
        choices={
            "tasks": task_lib.names(),
            "langs": LANGS,
            "controls": CONTROLS,
            "stand_in": ("", STAND_IN),
        },
        positive=("batch_size",),
        natural=(
            *("limit", "limits", "max_new_tokens", "permutations", "control_limit"),
            *("untrained_limit", "train_limit", "rerank_k", "rerank_limit", "sample_limit"),
            *("attention_images", "seed"),
        ),
    )


def suite(**fields: Any) -> ml_collections.ConfigDict:
    """A ConfigDict with every field, so that any can be overridden; per-task tables are merged.

    Raises:
      ConfigError: an unknown field.
    """
    return _engine().config_dict(SuiteConfig(), fields)


def validate(config: ml_collections.ConfigDict | Mapping) -> SuiteConfig:
    """The frozen, fully checked suite.

    Raises:
      ConfigError: an unknown field, a wrong type or value; it names the field, the value, what was
        expected and the nearest valid name.
    """
    checked = _engine().build(config)
    if not checked.langs:
        raise ConfigError(
            "no language is to be evaluated",
            where="suite.langs",
            expected="at least one of " + ", ".join(LANGS),
            fix="set --suite.langs=en,zh",
        )
    return checked
