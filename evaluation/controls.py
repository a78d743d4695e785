"""What a score must be compared with: other images, the commonest answer, chance, no training.

An answer that only reads the question does as well with another image; one that only knows the
habits of the data does as well by saying what is said most often.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence

from zv_jax.data.records.record import ImageRef
from zv_jax.data.text.dialogue import box_text
from zv_jax.evaluation.metrics.choices import letter_of
from zv_jax.evaluation.predict import Finder, Item, Predicted
from zv_jax.evaluation.predictions import Prediction
from zv_jax.evaluation.task import Task

BOX_DECIMALS = 1  # two boxes count as the same answer where they agree this far


def derangement(n: int, seed: int) -> list[int]:
    """A permutation of 0..n-1 that leaves nothing in place, the same for the same arguments.

    Raises:
      ValueError: n is 1, for which there is none.
    """
    if n == 1:
        raise ValueError("one image cannot be exchanged for another")
    order = list(range(n))
    random.Random(f"derangement/{seed}/{n}").shuffle(order)
    image = [0] * n
    for place, number in enumerate(order):  # one cycle through all
        image[number] = order[(place + 1) % n]
    return image


def shuffled(refs: Iterable[ImageRef], find: Finder, seed: int) -> Finder:
    """`find` with every reference exchanged for another one of `refs`; each is used once."""
    known = list(dict.fromkeys(refs))
    image = derangement(len(known), seed)
    other = {ref: known[image[i]] for i, ref in enumerate(known)}
    return lambda ref: find(other[ref])


class MostFrequent:
    """The predictor that says what the training split says most often to this turn of this type of
    question."""

    def __init__(self, task: Task, training: Iterable[Item]):
        counts: dict[tuple[str, int] | None, Counter[str]] = defaultdict(Counter)
        for item in training:
            for turn in range(len(item.turns)):
                answer = _counted(task, item, turn)
                counts[item.group, turn][answer] += 1
                counts[None][answer] += 1
        # Of equally frequent answers the first in the alphabet, so that order does not matter.
        self._best = {
            key: min(c, key=lambda text, c=c: (-c[text], text)) for key, c in counts.items()
        }

    def __call__(self, items: Sequence[Item]) -> Iterator[Predicted]:
        """All at once; a type unknown in training gets the commonest answer of all."""
        common = self._best.get(None, "")
        said = [
            [self._best.get((item.group, turn), common) for turn in range(len(item.turns))]
            for item in items
        ]
        yield [(item.id, Prediction.of(a)) for item, a in zip(items, said, strict=True)]


def _counted(task: Task, item: Item, turn: int) -> str:
    """The form in which answers of the training split are counted, and said by the control."""
    if "box" in task.metrics:
        return box_text(item.record.objects[0].box, BOX_DECIMALS)
    if "choice" in task.metrics:
        # The words of options differ from question to question; their position can be counted.
        return f"({letter_of(item.record.answer_index or 0, f'record {item.id}')})"
    return item.references[turn][0]


def chance(task: Task, items: Sequence[Item]) -> dict[str, float]:
    """Metric -> expected value, hundredfold, of a blind guess; only where that is defined."""
    found = {"yes_no_accuracy": 50.0} if "yes_no" in task.metrics else {}
    if "choice" in task.metrics:
        parts = [100.0 / len(item.record.choices or (1,)) for item in items]
        found["accuracy"] = sum(parts) / len(parts)
    return found
