"""What a score must be compared with: other pictures, the commonest answer, chance, no training.

An answer that only reads the question does as well with another picture; one that only knows the
habits of the data does as well by saying what is said most often.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence

from PIL import Image

from zv_jax.data.records.record import ImageRef
from zv_jax.evaluation.tasks.base import Item, Task

Picture = Callable[[ImageRef], Image.Image]


def derangement(n: int, seed: int) -> list[int]:
    """A permutation of 0..n-1 that leaves nothing in place, the same for the same arguments.

    Raises:
      ValueError: n is 1, for which there is none.
    """
    if n == 1:
        raise ValueError("one picture cannot be exchanged for another")
    order = list(range(n))
    random.Random(f"derangement/{seed}/{n}").shuffle(order)
    image = [0] * n
    for place, number in enumerate(order):  # one cycle through all
        image[number] = order[(place + 1) % n]
    return image


def shuffled(refs: Iterable[ImageRef], picture: Picture, seed: int) -> Picture:
    """`picture` with every reference exchanged for another one of `refs`; each is used once."""
    known = list(dict.fromkeys(refs))
    image = derangement(len(known), seed)
    other = {ref: known[image[i]] for i, ref in enumerate(known)}
    return lambda ref: picture(other[ref])


class MostFrequent:
    """Says what the training split says most often to this turn of this type of question."""

    def __init__(self, task: Task, training: Iterable[Item]):
        counts: dict[tuple[str, int] | None, Counter[str]] = defaultdict(Counter)
        self.counted = 0
        for item in training:
            self.counted += 1
            for turn in range(len(item.turns)):
                answer = task.frequent_key(item, turn)
                counts[item.group, turn][answer] += 1
                counts[None][answer] += 1
        # Of equally frequent answers the first in the alphabet, so that order does not matter.
        self._best = {
            key: min(c, key=lambda text, c=c: (-c[text], text)) for key, c in counts.items()
        }

    def __call__(self, items: Sequence[Item]) -> list[list[str]]:
        """The answers to all turns; a type unknown in training gets the commonest of all."""
        common = self._best.get(None, "")
        return [
            [self._best.get((item.group, turn), common) for turn in range(len(item.turns))]
            for item in items
        ]
