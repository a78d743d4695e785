"""What becomes of detected boxes, in numpy: one label for each, no doubles, tightened to masks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def iou(boxes: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Intersection over union, [N, M], of xyxy boxes [N, 4] and [M, 4]; 0 where there is no area.

    Args:
      boxes: [N, 4]; other: [M, 4]; in one unit.
    """
    low = np.maximum(boxes[:, None, :2], other[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.clip(high - low, 0, None), axis=-1)
    union = area(boxes)[:, None] + area(other)[None] - shared
    return np.divide(shared, union, out=np.zeros_like(union), where=union > 0)


def area(boxes: np.ndarray) -> np.ndarray:
    """Areas, [N], of xyxy boxes [N, 4]; 0 for corners in the wrong order."""
    return np.prod(np.clip(boxes[:, 2:] - boxes[:, :2], 0, None), axis=-1)


def suppressed(
    boxes: np.ndarray, labels: np.ndarray, scores: np.ndarray, limit: float
) -> np.ndarray:
    """Greedy non-maximum suppression within each label.

    Args:
      boxes: [N, 4]; labels: [N] of integers; scores: [N].
      limit: boxes of one label that overlap a better one by more (IoU) go.

    Returns:
      Indices of the boxes that stay, best first; of equal scores the earlier one is the better.
    """
    overlap = iou(boxes, boxes) > limit
    overlap &= labels[:, None] == labels[None]
    kept: list[int] = []
    for i in np.argsort(-scores, kind="stable"):
        if not overlap[i, kept].any():
            kept.append(int(i))
    return np.array(kept, np.int64)


def best_labels(
    scores: np.ndarray, spans: Sequence[tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray]:
    """The one label of each box: that with the most probable token.

    Reading a label off all tokens above a threshold runs labels into each other ("shirt blouse").

    Args:
      scores: [N, T], how well each box fits each token of the text.
      spans: of each label, its first token and the one behind its last.

    Returns:
      Indices of labels and their scores, both [N]; of equal scores the earlier label.
    """
    by_label = np.stack([scores[:, start:end].max(-1) for start, end in spans], axis=-1)
    best = by_label.argmax(-1)
    return best, np.take_along_axis(by_label, best[:, None], -1)[:, 0]


def tightened(box: np.ndarray, mask: np.ndarray, least: float) -> np.ndarray:
    """The bounds of a mask, or the box where these are of something else.

    Args:
      box: [4], pixels. mask: [H, W] of truth values.
      least: IoU with the box below which a mask has run out of it, or shows a part alone.
    """
    if not mask.any():
        return box
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    bounds = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    found = np.array(bounds, np.float64)
    return found if iou(found[None], box[None])[0, 0] >= least else box
