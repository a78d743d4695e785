"""Filter 5: boxes that are boxes, and those of the view, called by their own names."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from zv_jax.bmmic.filters import concepts, words
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.pair import Pair
from zv_jax.data.records.record import Object


@dataclass(frozen=True)
class Settings:
    """Thresholds of `Boxes`."""

    min_area: float = 1e-4  # of the image
    tolerance: float = 0.01  # between a corner that is quoted and one that was given


_BRACKETS = re.compile(r"[\[(]\s*-?\d*\.?\d+(?:\s*[,;\s]\s*-?\d*\.?\d+)+\s*[\])]")
_NUMBER = re.compile(r"-?\d*\.?\d+")
_LINK = re.compile(
    r"[\s:：,，(（]*(?:(?:is|are|at|in|on|located|box|在|位于|是|为|坐标)\s*)*[\s:：(（]*$"
)

Box = tuple[float, ...]


def quoted(text: str) -> list[tuple[int, Box]]:
    """(place, numbers) of everything in a text that is written as a box, right or not.

    A list of whole numbers that are no four is taken for a list, not for a box.
    """
    found = []
    for match in _BRACKETS.finditer(words.normal(text)):
        numbers = tuple(float(n) for n in _NUMBER.findall(match[0]))
        decimal = "." in match[0]
        square = match[0].startswith("[")
        if decimal and (square or len(numbers) == 4) or (square and len(numbers) == 4):
            found.append((match.start(), numbers))
    return found


def fault(box: Box, min_area: float = 0.0) -> str | None:
    """Why four numbers are no box in 0..1; None if they are one."""
    if len(box) != 4:
        return f"a box of {len(box)} numbers"
    x1, y1, x2, y2 = box
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        return f"no box in 0..1: {list(box)}"
    if (x2 - x1) * (y2 - y1) < min_area:
        return f"a box without area: {list(box)}"
    return None


def given(box: Box, objects: Sequence[Object], tolerance: float) -> list[int]:
    """The numbers of the objects whose corners are those of `box`."""
    return [
        k
        for k, thing in enumerate(objects)
        if all(abs(a - b) <= tolerance + 1e-9 for a, b in zip(box, thing.box, strict=True))
    ]


class Boxes(Filter):
    """Every quoted box is one of the view's; the noun before it is not that of another thing."""

    name = "boxes"

    def complaint(self, pair: Pair) -> str | None:
        for turn in pair.turns:
            text = words.normal(turn.text)
            for place, box in quoted(text):
                why = fault(box, self.settings.min_area)
                if why:
                    return why
                objects = given(box, pair.view.objects, self.settings.tolerance)
                if not objects:
                    return f"not in the view: {list(box)}"
                if why := _misnamed(text[:place], objects, pair):
                    return why
        if pair.source:
            before = sum(len(quoted(t.text)) + t.text.count("<obj_") for t in pair.source)
            after = sum(len(quoted(t.text)) + t.text.count("<obj_") for t in pair.turns)
            if before != after:
                return f"{after} boxes of {before} after translation"
        return self._asked_for(pair)

    def _asked_for(self, pair: Pair) -> str | None:
        """A short answer that is a box belongs to the thing asked for, if only one was named."""
        for question, answer in pair.exchanges:
            boxes = quoted(answer)
            if len(boxes) != 1 or words.BOX.sub("", words.normal(answer)).strip(" .。"):
                continue
            asked = {m.concept for m in concepts.mentions(words.plain(question), pair.lang)}
            objects = given(boxes[0][1], pair.view.objects, self.settings.tolerance)
            labels = [concepts.label_concept(pair.view, k) for k in objects]
            known = {c for k in range(len(pair.view.objects))
                     if (c := concepts.label_concept(pair.view, k))}  # fmt: skip
            wanted = [a for a in asked if any(_related(a, k) for k in known)]
            if wanted and not any(_related(a, b) for a in wanted for b in labels if b):
                return f"the box of {labels[0]} for {wanted[0]}"
        return None


def _misnamed(before: str, objects: list[int], pair: Pair) -> str | None:
    """Whether the noun right before a box is that of another thing in the view."""
    found = concepts.mentions(before[-60:], pair.lang)
    if not found or not _LINK.fullmatch(before[-60:][found[-1].end :]):
        return None
    own = [concepts.label_concept(pair.view, k) for k in objects]
    if any(c is None or _related(found[-1].concept, c) for c in own):
        return None
    others = [concepts.label_concept(pair.view, k) for k in range(len(pair.view.objects))]
    if any(c is not None and _related(found[-1].concept, c) for c in others):
        return f"the box of {own[0]} behind {found[-1].name!r}"
    return None


def _related(one: str, other: str) -> bool:
    return concepts.is_a(one, other) or concepts.is_a(other, one)
