"""What can truthfully be asked about a scene, without a word of any language."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from zv_jax.data.openmoji.concepts import load_concepts
from zv_jax.data.openmoji.scene import Concept, Placed, Scene

# A side is at odds with the corners beside it: "at the top" could also mean "at the top left".
_CORNERS_OF: dict[str, tuple[str, str]] = {
    "top": ("top left", "top right"),
    "bottom": ("bottom left", "bottom right"),
    "left": ("top left", "bottom left"),
    "right": ("top right", "bottom right"),
}


@dataclass(frozen=True)
class Group:
    """All pictures of one concept in a scene, in reading order."""

    concept: Concept
    members: tuple[Placed, ...]

    @property
    def count(self) -> int:
        """Number of pictures."""
        return len(self.members)


@dataclass(frozen=True)
class Referent:
    """A picture that words can single out: by its concept alone, or by concept and ``size``."""

    placed: Placed
    size: str | None = None


def groups(scene: Scene) -> list[Group]:
    """The groups of a scene: single pictures first, then larger groups, each in reading order."""
    by_key: dict[str, list[Placed]] = {}
    for placed in scene.objects:
        by_key.setdefault(placed.concept.key, []).append(placed)
    found = [Group(members[0].concept, tuple(members)) for members in by_key.values()]
    return sorted(found, key=lambda group: group.count > 1)


def referents(scene: Scene) -> list[Referent]:
    """Every picture that "the dog" or "the small dog" names without doubt."""
    found = []
    for group in groups(scene):
        if group.count == 1:
            found.append(Referent(group.members[0]))
            continue
        for size in ("small", "large"):
            same = [p for p in group.members if p.size == size]
            if len(same) == 1:
                found.append(Referent(same[0], size))
    return found


def clear_places(scene: Scene) -> list[Placed]:
    """Every picture that its place names without doubt."""
    taken = [p.place for p in scene.objects]
    return [
        p
        for p in scene.objects
        if taken.count(p.place) == 1
        and not any(corner in taken for corner in _CORNERS_OF.get(p.place, ()))
    ]


def is_eaten(concept: Concept) -> bool:
    """Whether it is food in the plain sense; what one drinks is left out."""
    return concept.is_food and concept.category != "drink"


def _pool(scene: Scene) -> tuple[Concept, ...]:
    everyday = load_concepts("everyday")
    keys = {c.key for c in everyday}
    return everyday if all(p.concept.key in keys for p in scene.objects) else load_concepts("all")


def distractors(
    scene: Scene, rng: random.Random, n: int, like: Concept | None = None
) -> list[Concept]:
    """Draws ``n`` different concepts that are not in the scene.

    Args:
      scene: what is there; names that share a word with something there ("cat", "cat face") are
        never drawn.
      rng: source of chance.
      n: how many.
      like: where given, about half of them are of its category.
    """
    here = {p.concept.key for p in scene.objects}
    words = {word for p in scene.objects for word in p.concept.en.split()}
    absent = [c for c in _pool(scene) if c.key not in here and not words & set(c.en.split())]
    close = [c for c in absent if like and c.category == like.category]
    found: list[Concept] = []
    while len(found) < n:
        drawn = rng.choice(close if close and rng.random() < 0.5 else absent)
        if drawn not in found:
            found.append(drawn)
    return found


def odd_one(found: Sequence[Group]) -> tuple[Group, str] | None:
    """The only group of another category, with the category of all the others."""
    for group in found:
        others = {g.concept.category for g in found if g is not group}
        if len(found) > 2 and len(others) == 1 and group.concept.category not in others:
            return group, others.pop()
    return None
