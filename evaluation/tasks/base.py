"""What every task that asks the model for words has in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.text.dialogue import Exchange, exchanges, render_boxes

Predictions = Sequence[Sequence[str]]
"""For every item the model's answer to every turn."""


@dataclass(frozen=True)
class Item:
    """One thing to evaluate.

    Attributes:
      id: the record's.
      group: its question type; the most frequent answer is counted per group.
      images: pictures in order.
      turns: the dialogue with boxes as text; the answers are the true ones.
      references: for every turn all accepted answers.
      record: where all this comes from.
    """

    id: str
    group: str
    images: tuple[ImageRef, ...]
    turns: tuple[Exchange, ...]
    references: tuple[tuple[str, ...], ...]
    record: Record


@dataclass(frozen=True)
class Measure:
    """One metric of some items.

    Attributes:
      metric: its name.
      values: float [N], one per judged unit, hundredfold (a share is a percentage).
      owners: int [N], index of the item a unit belongs to.
      protocol: all that another number under the same name could differ in.
      unreadable: units counted as wrong because the answer could not be read.
      whole: the 95 % interval of a number that is no mean over items (an average precision):
        `values` then holds that number alone, and no item has a value of its own.
      asked: how many items were asked, where that is a part of those evaluated.
    """

    metric: str
    values: np.ndarray
    owners: np.ndarray
    protocol: str
    unreadable: int = 0
    whole: tuple[float, float] | None = None
    asked: int = 0

    @property
    def value(self) -> float:
        """Mean over the units."""
        return float(self.values.mean())


@dataclass(frozen=True)
class Judgement:
    """Measures, the headline first, and for every item facts for its sample
    (``correct``, ``box_pred``...)."""

    measures: tuple[Measure, ...]
    marks: tuple[dict[str, Any], ...] = field(default=())


class Task:
    """A task with answers in words; subclasses give the class attributes and `judge`."""

    name: ClassVar[str]
    version: ClassVar[str] = "v1"
    record_task: ClassVar[str]
    stages: ClassVar[tuple[str, ...]] = ("stage1", "stage2")  # which teach it
    max_new_tokens: ClassVar[int]

    def item(self, record: Record, box_decimals: int) -> Item:
        """The record as an item; boxes are written with `box_decimals` decimals."""
        turns = exchanges(record, box_decimals=box_decimals)
        given = [(turn.answer or "",) for turn in turns]
        if record.answers:
            given[-1] = tuple(render_boxes(a, record.objects, box_decimals) for a in record.answers)
        group = str(record.meta.get("question_type", record.task))
        return Item(record.id, group, record.images, turns, tuple(given), record)

    def judge(
        self, items: Sequence[Item], predictions: Predictions, lang: str, corpus: Sequence[Item]
    ) -> Judgement:
        """Scores answers.

        Args:
          items: what was asked.
          predictions: what was answered.
          lang: language of the answers.
          corpus: all evaluated items, of which `items` may be a part; n-gram statistics are its.
        """
        raise NotImplementedError

    def frequent_key(self, item: Item, turn: int) -> str:
        """The form in which answers of the training split are counted; it is also what the
        most-frequent-answer control says."""
        return item.references[turn][0]

    def chance(self, items: Sequence[Item]) -> dict[str, float]:
        """Metric -> expected value, hundredfold, of a blind guess; only where that is defined."""
        return {}

    def protocol(self, metric_protocol: str, max_new_tokens: int) -> str:
        """The whole recipe of a number in one line."""
        decoding = f"greedy|max_new_tokens={max_new_tokens}"
        return f"{self.name}|{self.version}|prompt=record|{decoding}|{metric_protocol}"


def per_item(
    metric: str, values: Sequence[float | bool], protocol: str, unreadable: int = 0
) -> Measure:
    """A measure with one unit per item; true counts 100."""
    array = np.array([100.0 * v if isinstance(v, bool) else v for v in values], np.float64)
    return Measure(metric, array, np.arange(len(array)), protocol, unreadable)


def last_answers(predictions: Predictions) -> list[str]:
    """The answer to the last turn of every item."""
    return [answers[-1] for answers in predictions]
