"""Asks a model: items in batches of one size, answers kept on disk as they come.

Whatever is on disk is not asked twice, so an interrupted run goes on where it stopped and gives the
same predictions. A predictor is any function of items that yields their predictions: a model that
speaks, one that ranks options, and every control.
"""

from __future__ import annotations

import dataclasses
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

from PIL import Image

from zv_jax.data.records import rules
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.text.dialogue import IMAGE, Exchange, exchanges, render_boxes
from zv_jax.evaluation.metrics.choices import LETTERS, letter_of
from zv_jax.evaluation.model import Model, Prompt
from zv_jax.evaluation.predictions import Log, Prediction
from zv_jax.evaluation.task import Task

T = TypeVar("T")
Finder = Callable[[ImageRef], Image.Image]
Tick = Callable[[int], object]
Predicted = list[tuple[str, Prediction]]
BOX_DECIMALS = 3  # where no model says how it writes boxes


@dataclass(frozen=True)
class Item:
    """One thing to evaluate.

    Attributes:
      id: the record's.
      group: its question type; the most frequent answer is counted per group.
      images: in order.
      turns: the dialogue with boxes as text; the answers are the true ones, where they are known.
      references: for every turn all accepted answers.
      shown: what people see as the question.
      record: where all this comes from.
    """

    id: str
    group: str
    images: tuple[ImageRef, ...]
    turns: tuple[Exchange, ...]
    references: tuple[tuple[str, ...], ...]
    shown: str
    record: Record


Predictor = Callable[[Sequence[Item]], Iterator[Predicted]]


def item(task: Task, record: Record, decimals: int = BOX_DECIMALS) -> Item:
    """The record as a task asks it; boxes are written with `decimals` decimals.

    Raises:
      DataError: the record cannot be asked.
    """
    if task.prompt:
        options = record.choices or ()
        text = prompt(task, record, options, decimals)
        turns = (Exchange(text, None, tuple(range(len(record.images)))),)
        last = record.turns[-1] if record.turns else None
        known = last is not None and last.role == "assistant"
        given = [(render_boxes(last.text, record.objects, decimals),) if known else ()]
        asked = filter(None, (context(record, decimals), question(record, decimals)))
        shown = "\n".join(asked) if "{question}" in task.prompt else text
    else:
        letter_of(len(record.choices or ("",)) - 1, f"record {record.id}")
        turns = exchanges(record, box_decimals=decimals)
        given = [(turn.answer or "",) for turn in turns]
        shown = turns[-1].question
    if record.answers:
        given[-1] = tuple(render_boxes(a, record.objects, decimals) for a in record.answers)
    elif record.answer_index is not None:
        given[-1] = (record.choices[record.answer_index],)
    group = str(record.meta.get("question_type", record.task))
    return Item(record.id, group, record.images, turns, tuple(given), shown, record)


def question(record: Record, decimals: int = BOX_DECIMALS) -> str:
    """What a record asks, in words, boxes written out: the turns of the user behind the last
    answer, one a line."""
    asked: list[str] = []
    for turn in record.turns:
        asked = [*asked, turn.text] if turn.role == "user" else []
    text = "\n".join(asked or [t.text for t in record.turns if t.role == "user"][-1:])
    return render_boxes(text.replace(IMAGE, "").strip(), record.objects, decimals)


def context(record: Record, decimals: int = BOX_DECIMALS) -> str:
    """What a record gives to read before its question, boxes written out; empty for most."""
    return render_boxes(rules.hint(record), record.objects, decimals)


def prompt(
    task: Task, record: Record, options: Sequence[str] = (), decimals: int = BOX_DECIMALS
) -> str:
    """The task's prompt about a record, its options lettered as in training."""
    where = f"record {record.id}"
    lettered = " ".join(f"({letter_of(i, where)}) {text}" for i, text in enumerate(options))
    parts = {"context": context(record, decimals), "question": question(record, decimals)}
    return task.prompt.format(**parts, options=lettered).strip()


def predict(
    predictor: Callable[[], Predictor],
    items: Sequence[Item],
    log: Log | None = None,
    tick: Tick = lambda n: None,
) -> dict[str, Prediction]:
    """The predictions of all items by id; those that the log holds are not made again.

    Args:
      predictor: makes the predictor, if there is anything left to predict.
      log: takes what is predicted as it comes.
      tick: called with the number of items just predicted.
    """
    found = log.done() if log else {}
    todo = [item for item in items if item.id not in found]
    tick(len(items) - len(todo))
    for rows in predictor()(todo) if todo else ():
        if log:
            log.add(rows)
        found.update(rows)
        tick(len(rows))
    return found


def batches(rows: Sequence[T], size: int) -> Iterator[tuple[list[T], int]]:
    """Yields `size` rows and how many of them count; the last batch repeats its first row."""
    for start in range(0, len(rows), size):
        part = list(rows[start : start + size])
        yield part + [part[0]] * (size - len(part)), len(part)


# The Q-Former reads what the language model reads, as in training and in LAVIS.


@dataclass(frozen=True)
class Speaker:
    """Generates the answer to every turn of every item; earlier answers are the history."""

    model: Model
    task: Task
    image: Finder
    batch_size: int

    def __call__(self, items: Sequence[Item]) -> Iterator[Predicted]:
        answers: list[list[str]] = [[] for _ in items]
        for turn in range(max((len(item.turns) for item in items), default=0)):
            # The number of images is part of a batch's shape.
            alike: dict[int, list[int]] = defaultdict(list)
            for number, item in enumerate(items):
                if turn < len(item.turns):
                    alike[len(_seen(item, turn))].append(number)
            for numbers in alike.values():
                for part, real in batches(numbers, self.batch_size):
                    texts = self.model.answer(
                        [_asked(items[i], turn, answers[i]) for i in part],
                        [[self.image(ref) for ref in _seen(items[i], turn)] for i in part],
                        instructions=[items[i].turns[turn].question for i in part],
                        **self.task.decoding,
                    )
                    for i, text in zip(part[:real], texts, strict=False):
                        answers[i].append(text)
                    ended = [i for i in part[:real] if turn + 1 == len(items[i].turns)]
                    if ended:
                        yield [(items[i].id, Prediction.of(answers[i])) for i in ended]


def _seen(item: Item, turn: int) -> tuple[ImageRef, ...]:
    """The images introduced up to a turn."""
    return tuple(item.images[i] for t in item.turns[: turn + 1] for i in t.images)


def _asked(item: Item, turn: int, given: Sequence[str]) -> Prompt:
    if len(item.turns) == 1:
        return item.turns[0].question
    past = zip(item.turns[:turn], given, strict=False)
    history = [dataclasses.replace(t, answer=answer) for t, answer in past]
    return (*history, dataclasses.replace(item.turns[turn], answer=None))


@dataclass(frozen=True)
class Ranker:
    """Ranks the options of every item, and again in `permutations` other orders."""

    model: Model
    task: Task
    image: Finder
    batch_size: int
    decimals: int
    permutations: int = 0
    seed: int = 0

    def __call__(self, items: Sequence[Item]) -> Iterator[Predicted]:
        for part, real in batches(items, self.batch_size):
            plain = [list(range(len(item.record.choices))) for item in part]
            first = self._rank(part, plain)
            others = [self._rank(part, self._mixed(part, n)) for n in range(self.permutations)]
            yield [
                (item.id, Prediction(item.record.choices[best], best, tuple(o[n] for o in others)))
                for n, (item, best) in enumerate(zip(part[:real], first, strict=False))
            ]

    def _mixed(self, part: Sequence[Item], turn: int) -> list[list[int]]:
        """The options of every item in another order."""
        orders = [list(range(len(item.record.choices))) for item in part]
        for item, order in zip(part, orders, strict=True):
            random.Random(f"options/{self.seed}/{turn}/{item.id}").shuffle(order)
        return orders

    def _rank(self, part: Sequence[Item], orders: Sequence[Sequence[int]]) -> list[int]:
        """The options chosen when they stand in these orders, numbered as in the record."""
        records = [item.record for item in part]
        rows = [[r.choices[i] for i in order] for r, order in zip(records, orders, strict=True)]
        prompts = [
            prompt(self.task, r, row, self.decimals) for r, row in zip(records, rows, strict=True)
        ]
        letters = [[f"({LETTERS[i]})" for i in range(len(row))] for row in rows]
        candidates = letters if self.task.target == "letter" else rows
        images = [[self.image(ref) for ref in item.images] for item in part]
        ranked = self.model.rank(prompts, candidates, images, instructions=prompts)
        return [order[r.best] for r, order in zip(ranked, orders, strict=True)]
