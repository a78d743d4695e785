"""The three parts of the chain: what each takes and gives. Any class with these methods will do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from PIL import Image

from zv_jax.bmmic.view import View


@dataclass(frozen=True)
class Tag:
    """A name of something in an image; `zh` is None where no Chinese name is known."""

    en: str
    zh: str | None = None


@dataclass(frozen=True)
class Found:
    """The boxes of one image.

    Attributes:
      boxes: [N, 4], xyxy in pixels.
      labels: [N], indices into the names that were asked for: one for each box.
      scores: [N], in 0..1.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def __getitem__(self, which: np.ndarray) -> Found:
        return Found(self.boxes[which], self.labels[which], self.scores[which])


class Part(Protocol):
    """What each of the three has.

    Attributes:
      about: facts for every record: kind, model, revision, thresholds; JSON values only.
    """

    about: Mapping[str, Any]


class Tagger(Part, Protocol):
    """Names what is in images."""

    def tags(self, images: Sequence[Image.Image], views: Sequence[View]) -> list[list[Tag]]:
        """The tags of each image, surest first; `views` holds what is known of them already."""
        ...


class Detector(Part, Protocol):
    """Finds the boxes of names."""

    def detect(self, images: Sequence[Image.Image], names: Sequence[Sequence[str]]) -> list[Found]:
        """The boxes of each image for the English names of it, of which there may be none."""
        ...


class Segmenter(Part, Protocol):
    """Finds the masks of what is in boxes."""

    def masks(
        self, images: Sequence[Image.Image], boxes: Sequence[np.ndarray]
    ) -> Iterator[np.ndarray]:
        """Of each image, in order, masks [N, H, W] of truth values for its boxes [N, 4]."""
        ...
