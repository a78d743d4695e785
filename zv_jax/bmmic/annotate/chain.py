"""Images -> tags -> boxes -> masks, as Grounded-SAM does it; the masks only tighten the boxes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from zv_jax.bmmic.annotate import boxes
from zv_jax.bmmic.annotate.parts import Detector, Found, Segmenter, Tag, Tagger
from zv_jax.bmmic.view import View
from zv_jax.data.readers.boxes import from_xyxy
from zv_jax.data.records.record import Object

_DIGITS = 4  # of boxes and scores: finer than a pixel of any image that a model sees


@dataclass(frozen=True)
class Limits:
    """What stays of what was found.

    Attributes:
      nms: IoU above which the weaker of two boxes of one label goes.
      same: likewise of any two labels: one thing has one label.
      tighten: IoU with the box that the bounds of a mask need to take its place.
      most: boxes of an image; the surest stay.
    """

    nms: float = 0.5
    same: float = 0.9
    tighten: float = 0.5
    most: int = 30


@dataclass(frozen=True)
class Chain:
    """The parts and their limits; without a segmenter boxes stay as the detector gives them."""

    tagger: Tagger
    detector: Detector
    segmenter: Segmenter | None
    limits: Limits

    @property
    def about(self) -> Mapping[str, Any]:
        """What every annotated view says of its making."""
        parts = {"tagger": self.tagger, "detector": self.detector, "segmenter": self.segmenter}
        made = {name: dict(part.about) for name, part in parts.items() if part is not None}
        return made | {"limits": dataclasses.asdict(self.limits)}

    def annotate(self, views: Sequence[View], images: Sequence[Image.Image]) -> list[View]:
        """The views with tags and boxes of what is in their images; captions stay.

        Args:
          views: without boxes; images: of them, RGB.
        """
        tags = [list(dict.fromkeys(found)) for found in self.tagger.tags(images, views)]
        names = [[tag.en for tag in found] for found in tags]
        found = [self._alone(one) for one in self.detector.detect(images, names)]
        if self.segmenter is not None:
            found = list(self._tightened(self.segmenter, images, found))
        return [self._view(*row) for row in zip(views, images, tags, found, strict=True)]

    def _alone(self, found: Found) -> Found:
        """Without doubles, surest first."""
        found = found[boxes.suppressed(found.boxes, found.labels, found.scores, self.limits.nms)]
        one = np.zeros_like(found.labels)
        kept = boxes.suppressed(found.boxes, one, found.scores, self.limits.same)
        return found[kept[: self.limits.most]]

    def _tightened(
        self, segmenter: Segmenter, images: Sequence[Image.Image], found: Sequence[Found]
    ) -> Iterator[Found]:
        all_masks = segmenter.masks(images, [one.boxes for one in found])
        for one, masks in zip(found, all_masks, strict=True):
            tight = np.zeros_like(one.boxes)
            for i, (box, mask) in enumerate(zip(one.boxes, masks, strict=True)):
                tight[i] = boxes.tightened(box, mask, self.limits.tighten)
            # Two boxes around one thing are alike now.
            yield self._alone(dataclasses.replace(one, boxes=tight))

    def _view(self, view: View, image: Image.Image, tags: Sequence[Tag], found: Found) -> View:
        things = []
        for box, label, score in zip(found.boxes, found.labels, found.scores, strict=True):
            place = from_xyxy(box, *image.size)
            place = place and from_xyxy([round(v, _DIGITS) for v in place], 1, 1)
            if place is not None:
                tag = tags[label]
                things.append(Object(place, tag.en, round(float(score), _DIGITS), tag.zh))
        words = {"en": [t.en for t in tags], "zh": [t.zh for t in tags if t.zh]}
        return dataclasses.replace(
            view,
            objects=tuple(things),
            tags={lang: tuple(dict.fromkeys(names)) for lang, names in words.items() if names},
            exhaustive=False,  # what a detector finds cannot be counted on
            meta={**view.meta, "annotate": self.about},
        )
