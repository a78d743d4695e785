"""Boxes in text: reading them, overlap, and the share of hits (Acc@0.5).

One coordinate convention: ``[x1,y1,x2,y2]``, fractions of the image's width and height. Of
several boxes only the first counts, nothing is guessed from the true box, and what cannot be read
is a miss.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from zv_jax.evaluation.metrics.reply import plain

Box = tuple[float, float, float, float]

THRESHOLD = 0.5
PROTOCOL = "first-box-2|xyxy-0..1|iou>=0.5|unreadable=miss"
_BRACKETED = re.compile(r"\[([^\[\]]*)\]")
_NUMBER = re.compile(r"(?:\d+(?:\.\d*)?|\.\d+)")


def parse_box(text: str, repair: bool = False) -> Box | None:
    """The first box in a text, or None where there is none that can be read.

    Spaces and full-width forms do not matter: ``［０.1，0.2， 0.5，0.6］`` is read like
    ``[0.1,0.2,0.5,0.6]``. The first bracket must hold four numbers in 0..1 with x1 < x2 and
    y1 < y2; ``repair`` puts swapped corners in order first. A reasoning block is left out.
    """
    # NFKC leaves the ideographic comma and full stop as they are.
    text = plain(text).translate(str.maketrans("、。", ",."))
    match = _BRACKETED.search(text)
    if match is None:
        return None
    parts = re.sub(r"\s+", "", match.group(1)).split(",")
    if len(parts) != 4 or not all(_NUMBER.fullmatch(part) for part in parts):
        return None
    x1, y1, x2, y2 = (float(part) for part in parts)
    if repair:
        x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    return (x1, y1, x2, y2) if x1 < x2 <= 1 and y1 < y2 <= 1 else None


def box_iou(a: Box, b: Box) -> float:
    """Area of the intersection over area of the union of two xyxy boxes; 0 for empty ones."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    inside = max(0.0, width) * max(0.0, height)
    union = _area(a) + _area(b) - inside
    return inside / union if union > 0 else 0.0


def _area(box: Box) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def hit(predicted: Box | None, true: Box, threshold: float = THRESHOLD) -> bool:
    """Whether the boxes overlap by at least ``threshold``; None is a miss."""
    return predicted is not None and box_iou(predicted, true) >= threshold


def accuracy(
    predicted: Sequence[Box | None], true: Sequence[Box], threshold: float = THRESHOLD
) -> float:
    """Share of hits in 0..1.

    Raises:
      ValueError: the lists are empty or of different length.
    """
    if not true or len(predicted) != len(true):
        raise ValueError(f"{len(predicted)} predictions for {len(true)} boxes")
    return sum(hit(p, t, threshold) for p, t in zip(predicted, true, strict=True)) / len(true)
