"""What a scene is: pictures of concepts at places on a coloured canvas. Facts only."""

from __future__ import annotations

from dataclasses import dataclass

PLACE_KEYS: tuple[str, ...] = (
    "top left",
    "top",
    "top right",
    "left",
    "centre",
    "right",
    "bottom left",
    "bottom",
    "bottom right",
)
"""The cells of the 3x3 grid in row-major order: cell ``i`` is row ``i // 3``, column ``i % 3``."""

SIZE_KEYS: tuple[str, ...] = ("small", "large")


@dataclass(frozen=True)
class Concept:
    """One thing that can be drawn and named.

    Attributes:
      key: stable short name, e.g. ``"red_apple"``.
      hex: code points as OpenMoji names the file, e.g. ``"1F34E"``.
      en: English noun, e.g. ``"red apple"``; ``en_plural`` its plural, ``en_article`` "a", "an" or
        "".
      zh: Chinese noun, e.g. ``"红苹果"``; ``zh_measure`` its measure word, e.g. ``"个"``.
      category: key of the concept's group.
      is_food: whether one eats or drinks it.
    """

    key: str
    hex: str
    en: str
    en_plural: str
    en_article: str
    zh: str
    zh_measure: str
    category: str
    is_food: bool


@dataclass(frozen=True)
class Placed:
    """A concept on the canvas.

    Attributes:
      concept: what it is.
      box: ``(x1, y1, x2, y2)`` in 0..1 of the canvas; in a drawn scene exactly the tight alpha box
        of the picture.
      place: one of `PLACE_KEYS`.
      size: one of `SIZE_KEYS`.
    """

    concept: Concept
    box: tuple[float, float, float, float]
    place: str
    size: str


@dataclass(frozen=True)
class Scene:
    """A whole picture as facts.

    Attributes:
      id: ``"zv_openmoji/<split>/<index>"``, also the image's shard key.
      split: ``train``, ``val`` or ``test``.
      canvas: key of the background colour.
      objects: the pictures, in reading order (rows, then columns).
    """

    id: str
    split: str
    canvas: str
    objects: tuple[Placed, ...]
