"""The records of a task: public files as they are published, a source, or stand-ins we can ship.

A stand-in takes images and questions of the same kind from the embedded data set, so that a whole
suite can be run without any file of others. Its scores never carry the task's name.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zv_jax.data.images import addresses
from zv_jax.data.images import decode as images_lib
from zv_jax.data.public import catalogue
from zv_jax.data.records.record import LANGS, TASKS, ImageRef, Record
from zv_jax.data.sources.open import Source, open_source
from zv_jax.errors import DataError
from zv_jax.evaluation.task import Task

STAND_IN = "zv_openmoji"
PEOPLE = 10  # answers of a VQA question
IMAGES_KEPT = 1024  # decoded ones; every task and control shows the same images again


@dataclass(frozen=True)
class Data:
    """What a task is run on.

    Attributes:
      records: in the order of the files, those of `limit` only.
      expected: how many the whole split has.
      image: finds an image.
      name: of the task in results; of a stand-in, with its source before it.
      scope: where references come from: two data sets may use the same.
    """

    records: tuple[Record, ...]
    expected: int
    image: Callable[[ImageRef], Image.Image]
    name: str
    scope: str


def from_files(task: Task, root: str | Path, limit: int = 0) -> Data:
    """Reads ``root/<data set>`` in the published layout.

    Raises:
      DataError: a file is missing or not as published, or the split has another size.
    """
    folder = Path(root) / task.dataset
    read = catalogue.read(task.dataset, folder, task.split)
    # Of boxes and what is in them a data set has records of both kinds; a judged one has several
    # kinds of question on purpose.
    kept = task.kind == "judged"
    records = [record for record in read if kept or record.task == task.records]
    if len(records) != task.expected:
        raise DataError(
            f"{task.title} has {len(records)} records here",
            where=str(folder),
            expected=f"{task.expected}, the published size of {task.split}",
            fix="get the whole split; for a number on a part use --suite.limit",
        )

    @functools.lru_cache(IMAGES_KEPT)
    def image(ref: ImageRef) -> Image.Image:
        return addresses.load(folder, ref, images_lib.KEPT)  # the model knows what it makes of it

    return Data(tuple(records[: limit or None]), len(records), image, task.name, task.dataset)


class NoRecords(DataError):
    """A source has no record of a task in a language."""


class Sources:
    """Opened sources; each is opened once, and shows each image once."""

    def __init__(self, path: str = "", opened: Source | None = None, image_root: str = ""):
        self._path, self._opened, self._image_root = path, opened, image_root
        self._held: dict[tuple[str, str], Source] = {}
        self._images: dict[tuple[str, str], Callable[[ImageRef], Image.Image]] = {}

    def open(self, name: str, split: str) -> Source:
        """The source of a name; `DataError` if there is none, or not this split."""
        if self._opened is not None:
            return self._opened
        if (name, split) not in self._held:
            self._held[name, split] = open_source(name, self._path, split, self._image_root)
        return self._held[name, split]

    def _image(self, name: str, split: str) -> Callable[[ImageRef], Image.Image]:
        if (name, split) not in self._images:
            find = self.open(name, split).image
            self._images[name, split] = functools.lru_cache(IMAGES_KEPT)(find)
        return self._images[name, split]

    def records(self, task: Task, lang: str, limit: int = 0) -> Data:
        """The first records of a task of `Task.records` and a language.

        Raises:
          NoRecords: there is none.
        """
        return self._of(task, lang, limit, task.dataset, task.split, task.name)

    def stand_in(self, task: Task, lang: str, limit: int = 0) -> Data:
        """Test records of the embedded data set of the same kind and language.

        Raises:
          DataError: there is none.
        """
        data = self._of(task, lang, limit, STAND_IN, "test", f"{STAND_IN}:{task.name}")
        records = data.records
        if "vqa_accuracy" in task.metrics:  # where ten were asked, this data set knows the truth
            records = tuple(replace(r, answers=_answers(r)[:1] * PEOPLE) for r in records)
        elif task.kind != "choice":
            records = tuple(replace(r, answers=_answers(r)) for r in records)
        return replace(data, records=records)

    def training(self, task: Task, lang: str, limit: int = 0) -> list[Record]:
        """The first records of the training split of a task of a source."""
        source = self.open(task.dataset, task.train_split)
        found = _select(source, task, lang)[: limit or None]
        return [source.record(int(i)) for i in found]

    def _of(self, task: Task, lang: str, limit: int, source: str, split: str, name: str) -> Data:
        opened = self.open(source, split)
        found = [i for i in _select(opened, task, lang) if opened.facts.images[i] > 0]
        if not found:
            raise NoRecords(
                f"no record of task {task.records!r} in language {lang!r}",
                where=f"{source} {split}, for {task.title}",
                expected="at least one record",
                fix=f"leave {task.name!r} out of --suite.tasks, or {lang!r} out of --suite.langs",
            )
        records = tuple(opened.record(int(i)) for i in found[: limit or None])
        return Data(records, len(found), self._image(source, split), name, source)


def left_out(source: Source, parts: Sequence[tuple[Task, str, Data]]) -> dict[str, Any]:
    """What of a source is not evaluated, and why: records of no task or language that is, and for
    each task and language those without an image and those beyond the limit."""
    facts = source.facts
    kinds = [TASKS.index(task.records) for task, _, _ in parts]
    langs = [LANGS.index(lang) for _, lang, _ in parts]
    of_task = np.isin(facts.task, kinds)
    rows = []
    for task, lang, data in parts:
        asked = _select(source, task, lang)
        rows.append(
            {"task": task.name, "lang": lang, "records": len(asked), "evaluated": len(data.records)}
            | {"no_image": int((facts.images[asked] == 0).sum())}
            | {"beyond_limit": data.expected - len(data.records)}
        )
    return {
        "records": len(source),
        "other_tasks": int((~of_task).sum()),
        "other_languages": int((of_task & ~np.isin(facts.lang, langs)).sum()),
        "parts": rows,
    }


def _select(source: Source, task: Task, lang: str) -> np.ndarray:
    """Numbers of the records of a task and language."""
    facts = source.facts
    kind, spoken = TASKS.index(task.records), LANGS.index(lang)
    return np.flatnonzero((facts.task == kind) & (facts.lang == spoken))


def _answers(record: Record) -> tuple[str, ...]:
    return record.answers or (record.turns[-1].text,)
