"""The part of an image that a training step sees: a crop, perhaps mirrored, and boxes in it.

As torchvision's RandomResizedCrop, which LAVIS trains with, but for one thing: the ratio of sides,
3/4 to 4/3, is that of the crop to its image and not that of the crop itself. Images are stretched
to squares here, in training as in use; so a crop is stretched no more than its image is, has the
share of the area that was asked for whatever the shape, and is the same before and after
`zv data prepare`, which stretches too.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image

Box = tuple[float, float, float, float]
_RATIO = math.log(4 / 3)


class View(NamedTuple):
    """The part of an image within `box` (xyxy in 0..1), `mirrored` at its middle or not."""

    box: Box = (0.0, 0.0, 1.0, 1.0)
    mirrored: bool = False

    def show(self, image: Image.Image) -> Image.Image:
        """The part, in as many pixels as it has there."""
        sides = (image.width, image.height) * 2
        x1, y1, x2, y2 = (round(at * side) for at, side in zip(self.box, sides, strict=True))
        part = image.crop((x1, y1, max(x2, x1 + 1), max(y2, y1 + 1)))
        return part.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else part

    def holds(self, box: Box) -> bool:
        """Whether all of `box`, of the image, is in the part."""
        return all(a <= b for a, b in zip(self.box[:2], box[:2], strict=True)) and all(
            a >= b for a, b in zip(self.box[2:], box[2:], strict=True)
        )

    def moved(self, box: Box) -> Box:
        """`box`, of the image, in 0..1 of the part, which `holds` it."""
        (left, top, right, bottom), (x1, y1, x2, y2) = self.box, box
        x1, x2 = (x1 - left) / (right - left), (x2 - left) / (right - left)
        y1, y2 = (y1 - top) / (bottom - top), (y2 - top) / (bottom - top)
        return (1 - x2, y1, 1 - x1, y2) if self.mirrored else (x1, y1, x2, y2)


def draw(seed: int, least: float, *, mirror: bool = False, keep: tuple[Box, ...] = ()) -> View:
    """A view that depends on nothing but the arguments.

    Args:
      seed: 0 or above.
      least: smallest share of the area; shares up to 1 are equally likely, and so are the
        logarithms of those ratios of sides that fit.
      mirror: whether it may be mirrored, which every second one is.
      keep: boxes of the image that must not be cut; a crop that cuts one is not taken.
    """
    rng = np.random.default_rng(seed)
    area = rng.uniform(least, 1.0)
    most = min(_RATIO, -math.log(area))  # beyond it a side would be longer than the image's
    ratio = math.exp(rng.uniform(-most, most))
    width, height = min(1.0, math.sqrt(area * ratio)), min(1.0, math.sqrt(area / ratio))
    left, top = rng.uniform(0, 1 - width), rng.uniform(0, 1 - height)
    mirrored = bool(mirror and rng.random() < 0.5)
    view = View((left, top, left + width, top + height), mirrored)
    return view if all(map(view.holds, keep)) else View(mirrored=mirrored)
