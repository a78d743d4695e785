"""A part of a suite, one task in one language: whom to ask, and what the answers are worth.

The same code scores a checkpoint (`run`) and a model in training (`in_training`): nothing here
reads or writes a file, or knows where a model comes from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from zv_jax.data.records.record import ImageRef
from zv_jax.errors import ConfigError
from zv_jax.evaluation import controls as controls_lib
from zv_jax.evaluation import retrieve, score
from zv_jax.evaluation.config import SuiteConfig
from zv_jax.evaluation.data import Data, NoRecords, Sources, from_files
from zv_jax.evaluation.model import Model
from zv_jax.evaluation.predict import Finder, Item, Predictor, Ranker, Speaker, Tick, item
from zv_jax.evaluation.predictions import Prediction
from zv_jax.evaluation.results import Measure, entry, named
from zv_jax.evaluation.retrieve import Gallery
from zv_jax.evaluation.task import CONTROLS, Task

Models = Callable[[bool], Model]
"""The evaluated model, and the same architecture untrained where the argument is true."""


@dataclass(frozen=True)
class Part:
    """A task in a language with its records; `controls` are those that the suite wants of it, and
    `swapped` finds another image for each reference, None where images are not shuffled."""

    task: Task
    lang: str
    data: Data
    suite: SuiteConfig
    swapped: Finder | None = None

    @property
    def controls(self) -> tuple[str, ...]:
        """The controls that the suite wants and the task knows."""
        return tuple(c for c in self.suite.controls if c in self.task.controls)

    def items(self, decimals: int) -> list[Item]:
        """The records as the task asks them."""
        return [item(self.task, record, decimals) for record in self.data.records]


@dataclass(frozen=True)
class Asking:
    """Items to predict; `predictor` makes the predictor."""

    items: Sequence[Item]
    predictor: Callable[[], Predictor]


@dataclass(frozen=True)
class Outcome:
    """What the model reached, and every control by name; `marks` are for samples, one an item."""

    measures: tuple[Measure, ...]
    ids: tuple[str, ...]
    controls: Mapping[str, tuple[Measure, ...]] = field(default_factory=dict)
    chance: Mapping[str, float] = field(default_factory=dict)
    marks: tuple[dict[str, Any], ...] = ()
    unit_ids: Mapping[str, Sequence[str]] = field(default_factory=dict)


def parts_of(
    suite: SuiteConfig,
    tasks: Sequence[Task],
    sources: Sources,
    leave_out: Callable[[str, str], None] | None = None,
) -> list[Part]:
    """Every task in every language with its records, in the order of tasks and languages.

    Args:
      leave_out: is called for each task in a language that the source has no record of, with a
        name of it and the reason; without it, that is an error.

    Raises:
      ConfigError: no task is in a language of the suite.
      NoRecords: the source has no record of a task; with `leave_out` only where the suite names the
        task, or where nothing is left.
      DataError: files are missing or not as published.
    """

    def data(task: Task, lang: str) -> Data:
        limit = suite.limit_of(task.name)
        if suite.stand_in and task.expected:
            return sources.stand_in(task, lang, limit)
        if task.expected:
            return from_files(task, suite.data, limit)
        return sources.records(task, lang, limit)

    pairs = [(task, lang) for task in tasks for lang in suite.langs if lang in task.langs]
    if not pairs:
        raise ConfigError(
            "no task of the suite is in one of its languages",
            where=f"suite.langs is {', '.join(suite.langs)}",
            expected="; ".join(f"{task.name} in {', '.join(task.langs)}" for task in tasks),
            fix="set --suite.langs, or other tasks",
        )
    found: list[Part] = []
    absent: NoRecords | None = None
    for task, lang in pairs:
        try:
            found.append(Part(task, lang, data(task, lang), suite))
        except NoRecords as error:
            if leave_out is None or task.name in suite.tasks:
                raise
            leave_out(f"{task.name} in {lang}", f"not evaluated: {error.what} ({error.where})")
            absent = absent or error
    if absent is not None and not found:
        raise absent
    return list(_shuffled(found))


def _shuffled(parts: Sequence[Part]) -> Iterator[Part]:
    """The parts with every evaluated image of a data set exchanged for another of it."""
    refs: dict[str, dict[ImageRef, None]] = {}
    for part in parts:
        shown = (ref for record in part.data.records for ref in record.images)
        refs.setdefault(part.data.scope, {}).update(dict.fromkeys(shown))
    for part in parts:
        known, image = refs[part.data.scope], part.data.image
        swapped = None
        if "shuffled_images" in part.controls and len(known) > 1:
            swapped = controls_lib.shuffled(known, image, part.suite.seed)
        yield dataclasses.replace(part, swapped=swapped)


def askings(part: Part, items: Sequence[Item], models: Models, decimals: int) -> dict[str, Asking]:
    """The model itself under the empty name, and each control that asks a model under its own."""
    suite, task = part.suite, part.task

    def predictor(untrained: bool, image: Finder) -> Callable[[], Predictor]:
        if task.kind == "choice":
            orders = 0 if untrained or image is part.swapped else suite.permutations
            return lambda: Ranker(
                models(untrained), task, image, suite.batch_size, decimals, orders, suite.seed
            )
        return lambda: Speaker(models(untrained), task, image, suite.batch_size)

    found = {"": Asking(items, predictor(False, part.data.image))}
    if part.swapped is not None:
        some = items[: suite.control_limit or None]
        found["shuffled_images"] = Asking(some, predictor(False, part.swapped))
    if "untrained" in part.controls:
        few = items[: suite.untrained_limit or None]
        found["untrained"] = Asking(few, predictor(True, part.data.image))
    return found


def outcome(
    part: Part,
    asked: Mapping[str, Asking],
    predictions: Mapping[str, Mapping[str, Prediction]],
    training: Callable[[], Iterable[Item]],
) -> Outcome:
    """Scores the predictions of all `askings`, and the controls that ask no model.

    Args:
      predictions: by the names of `asked`, then by id.
      training: the items whose answers are counted for the most frequent one.

    Raises:
      DataError: an item has no prediction, or no answer to compare with.
    """
    task, items = part.task, asked[""].items

    def scored(some: Sequence[Item], found: Mapping[str, Prediction]) -> score.Scored:
        return score.score(task, part.lang, some, score.by_item(found, some), items)

    main = scored(items, predictions[""])
    controls = {
        name: scored(asking.items, predictions[name]).measures
        for name, asking in asked.items()
        if name
    }
    if "most_frequent" in part.controls and task.train_split:
        frequent = controls_lib.MostFrequent(task, training())
        (rows,) = frequent(items)
        controls["most_frequent"] = scored(items, dict(rows)).measures
    chance = controls_lib.chance(task, items) if "chance" in part.controls else {}
    return Outcome(main.measures, tuple(i.id for i in items), controls, chance, main.marks)


def retrieved(
    part: Part, models: Models, tick: Tick = lambda n: None
) -> tuple[Outcome, Gallery, np.ndarray]:
    """The outcome of a task of retrieval, its gallery, and the similarities float [N, M]."""
    task, suite, image = part.task, part.suite, part.data.image
    gallery = retrieve.gallery(task, part.data.records)

    def similar(untrained: bool) -> np.ndarray:
        return retrieve.similarities(models(untrained), gallery, image, suite.batch_size, tick)

    similarity = similar(False)
    controls = {}
    if part.swapped is not None and len(gallery.images) > 1:
        order = controls_lib.derangement(len(gallery.images), suite.seed)
        controls["shuffled_images"] = retrieve.measures(task, gallery, similarity[order])
    if "untrained" in part.controls:
        controls["untrained"] = retrieve.measures(task, gallery, similar(True))
    measures = retrieve.measures(task, gallery, similarity)
    if suite.rerank_k and "itm" in task.metrics:
        measures += retrieve.matched(
            task, gallery, similarity, models(False), image, suite.rerank_k, suite.rerank_limit,
            suite.batch_size, tick,
        )  # fmt: skip
    chance = retrieve.chance(task, gallery) if "chance" in part.controls else {}
    units = {m.metric: gallery.text_ids for m in measures if m.metric.startswith("image_")}
    found = Outcome(measures, gallery.ids, controls, chance, unit_ids=units)
    return found, gallery, similarity


def entries(
    part: Part, found: Outcome, how: str = ""
) -> list[tuple[dict[str, Any], Measure, Sequence[str]]]:
    """Every measure as an entry of results.json, `how` being part of its protocol; the measure
    under the same name; and the ids that its owners number."""
    out = []
    for measure in found.measures:
        values: dict[str, float | None] = dict.fromkeys(CONTROLS)
        counts = {}
        for name, measures in found.controls.items():
            same = next((m for m in measures if m.metric == measure.metric), None)
            if same is not None:
                values[name], counts[name] = same.value, len(same.values)
        values["chance"] = found.chance.get(measure.metric)
        called = named(measure, len(part.data.records), part.data.expected)
        row = entry(
            part.data.name,
            part.lang,
            called,
            protocol=part.task.describe(how + measure.protocol),
            expected=part.data.expected,
            ids=found.ids,
            controls=values,
            control_n=counts,
            seed=part.suite.seed,
        )
        out.append((row, called, found.unit_ids.get(measure.metric, found.ids)))
    return out
