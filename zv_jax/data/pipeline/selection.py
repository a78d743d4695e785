"""Which samples a stage draws of a source, and why it leaves the other records out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zv_jax.config.schema import Config, SourceConfig
from zv_jax.data.pipeline.batches.kind import KINDS
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record_index import RecordIndex
from zv_jax.errors import unknown_name
from zv_jax.stages import stage_of


class Selection(NamedTuple):
    """What decides which records of a source are drawn.

    Attributes:
      kind: of batch, a name of `KINDS`.
      tasks: of the records; empty: those of the kind.
      one_answer: as in `stages.Stage`.
    """

    kind: str
    tasks: Sequence[str]
    langs: Sequence[str]
    max_images: int
    one_answer: bool = False

    @property
    def drawn_tasks(self) -> tuple[str, ...]:
        """The tasks named, or those of the kind."""
        return tuple(self.tasks) or KINDS[self.kind].tasks


def of(config: Config, item: SourceConfig) -> Selection:
    """What `config.stage` draws of a source of it."""
    stage = stage_of(config)
    images = item.max_images or config.data.max_images
    return Selection(stage.batch, item.tasks, item.langs, images, stage.one_answer)


def check_tasks(tasks: Sequence[str], langs: Sequence[str], where: str) -> None:
    """`ConfigError` for a task or language that does not exist."""
    known = ("en", "zh")
    for values, valid, name in ((tasks, records_lib.TASKS, "tasks"), (langs, known, "langs")):
        for value in values:
            if value not in valid:
                raise unknown_name(
                    name[:-1], value, valid, f"{where}.{name}", fix=f"correct the source's {name}"
                )


def samples(facts: RecordIndex, wanted: Selection) -> np.ndarray:
    """int64 [N, 2] of (record, part): what is drawn from one source; see the kinds of batch."""
    kept = ~np.logical_or.reduce(list(excluded(facts, wanted).values()))
    return KINDS[wanted.kind].samples(facts, kept, wanted.one_answer)


def excluded(facts: RecordIndex, wanted: Selection) -> dict[str, np.ndarray]:
    """{reason: bool [N]}: the records that are not drawn, each under its first reason: task,
    language, number of images, or nothing in it to learn."""
    tasks = [records_lib.TASKS.index(task) for task in wanted.drawn_tasks]
    langs = set(wanted.langs)
    spoken = [i for i, lang in enumerate(records_lib.LANGS) if set(lang.split("-")) <= langs]
    fits = {
        "task": np.isin(facts.task, tasks),
        "language": np.isin(facts.lang, spoken),
        "images": KINDS[wanted.kind].fits(facts, wanted.max_images),
        "empty": facts.parts > 0,
    }
    found, left = {}, np.ones(len(facts.task), bool)
    for reason, right in fits.items():
        found[reason] = left & ~right
        left = left & right
    return found
