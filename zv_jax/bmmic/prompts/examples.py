"""The 50 in-context examples, and which of them go before a query."""

from __future__ import annotations

import functools
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources

import yaml

from zv_jax.bmmic import pair as pairs
from zv_jax.bmmic.filters import concepts
from zv_jax.bmmic.pair import Pair
from zv_jax.bmmic.view import View
from zv_jax.data.records.record import ImageRef, Object
from zv_jax.data.text.templates import seeded
from zv_jax.errors import unknown_name


@dataclass(frozen=True)
class Example:
    """A pair written by people.

    Attributes:
      topic: of the scene: indoor, street, nature, food, text, chart, people or animals.
      pair: its view and turns.
    """

    topic: str
    pair: Pair


@functools.cache
def load(lang: str) -> tuple[Example, ...]:
    """The 25 examples of a language."""
    file = resources.files(__package__).joinpath(f"examples_{lang}.yaml")
    return tuple(_example(row, lang) for row in yaml.safe_load(file.read_text("utf-8")))


def _example(row: dict, lang: str) -> Example:
    things = tuple(Object(tuple(map(float, box)), label) for label, *box in row["things"])
    view = View(
        id=f"examples/{row['id']}",
        image=ImageRef(path=f"{row['id']}.none"),  # written in words: there is no image
        captions={lang: tuple(row["captions"])},
        objects=things,
        licence="Apache-2.0",
    )
    turns = pairs.turns(*(str(text) for text in row["turns"]))
    return Example(row["topic"], Pair(row["id"], lang, row["kind"], turns, view))


def fixed(pool: list[Example], view: View, count: int, seed: int) -> list[Example]:
    """The first ones, of different topics: every request begins with the same words, which
    providers keep ready at a lower price."""
    del view, seed
    chosen: list[Example] = []
    for example in pool:
        if example.topic not in {e.topic for e in chosen}:
            chosen.append(example)
    chosen += [example for example in pool if example not in chosen]
    return chosen[:count]


def at_random(pool: list[Example], view: View, count: int, seed: int) -> list[Example]:
    """Some at random, which follow from the view's id alone: a resumed run takes the same."""
    return random.Random(seeded(seed, view.id, 0, "bmmic/examples")).sample(pool, count)


def nearest(pool: list[Example], view: View, count: int, seed: int) -> list[Example]:
    """Those whose things are most like the view's, the nearest one last, next to the query."""
    del seed
    own = _bag(view)

    def alike(example: Example) -> float:
        other = _bag(example.pair.view)
        both = sum((own & other).values())
        return both / max(1.0, (own.total() * other.total()) ** 0.5)

    ranked = sorted(enumerate(pool), key=lambda item: (-alike(item[1]), item[0]))
    return [example for _, example in ranked[:count]][::-1]


def _bag(view: View) -> Counter[str]:
    """Things and kinds of things, the same for both languages."""
    known = concepts.known(view)
    return Counter(kind for concept in known.seen for kind in concepts.above(concept))


SELECTIONS: dict[str, Callable[[list[Example], View, int, int], list[Example]]] = {
    "fixed": fixed,
    "random": at_random,
    "nearest": nearest,
}


def select(how: str, kind: str, lang: str, view: View, count: int, seed: int = 0) -> list[Example]:
    """At most `count` examples of a kind and language for a view, never one of the same image.

    Args:
      how: one of `SELECTIONS`.

    Raises:
      ConfigError: there is no such selection.
    """
    if how not in SELECTIONS:
        raise unknown_name("selection of examples", how, SELECTIONS, "generate.examples")
    pool = [e for e in load(lang) if e.pair.kind == kind and e.pair.view.id != view.id]
    return SELECTIONS[how](pool, view, min(count, len(pool)), seed)
