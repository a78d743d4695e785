"""Boxes of any convention to xyxy in 0..1 of their own image: once, at ingestion."""

from __future__ import annotations

from collections.abc import Sequence

from zv_jax.data.records.record import Box


def from_xyxy(box: Sequence[float], width: float, height: float) -> Box | None:
    """Pixels [x1, y1, x2, y2] of an image of `width` x `height`; None if no area is left of it.

    Corners beyond the image are moved to its edge. NaN gives None.

    Raises:
      ValueError: the image has no area.
    """
    if not (width > 0 and height > 0):
        raise ValueError(f"a picture of {width} x {height} pixels")
    x1, y1, x2, y2 = (float(v) for v in box[:4])
    x1, x2 = (min(max(v / width, 0.0), 1.0) for v in (x1, x2))
    y1, y2 = (min(max(v / height, 0.0), 1.0) for v in (y1, y2))
    return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def from_xywh(box: Sequence[float], width: float, height: float) -> Box | None:
    """Pixels [x, y, width, height], as COCO and Visual Genome have them."""
    x, y, w, h = (float(v) for v in box)
    return from_xyxy((x, y, x + w, y + h), width, height)


def from_yxyx(box: Sequence[float]) -> Box | None:
    """[y1, x1, y2, x2] in 0..1, as TensorFlow Datasets has them."""
    y1, x1, y2, x2 = box
    return from_xyxy((x1, y1, x2, y2), 1, 1)
