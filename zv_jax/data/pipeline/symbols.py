"""Images in symbols, short texts whose words are added up into one vector each.

The language warm-up reads them in the place of visual tokens; the vision warm-up writes those of
what each patch shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from zv_jax.data.records.record import Record
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.warmup.symbols import EMPTY, SIDES, SYMBOL_TOKENS

SMALLEST = 0.1  # share of a patch that a box must cover to be what the patch shows


def encoded(text: str, tokenizer: Tokenizer) -> np.ndarray:
    """int32 [SYMBOL_TOKENS]: the last tokens of a symbol, then `EMPTY`."""
    symbol = np.full(SYMBOL_TOKENS, EMPTY, np.int32)
    ids = tokenizer.encode(text)[-SYMBOL_TOKENS:]
    symbol[: len(ids)] = ids
    return symbol


def symbolic_views(record: Record, decimals: int, narrow: bool = False) -> list[list[str]]:
    """Each image of the record in symbols, where `meta["views"]` has them.

    `["blue", "top left dog x1 0.05", "top left dog y1 0.06", ...]`: the background, then each side
    of each object's box (paper section 3.1, "captions" and "bounding boxes"). `narrow` leaves out
    the objects that the record does not ask about.
    """
    views = []
    for view in record.meta.get("views", ()):
        asked = view.get("asked") if narrow else None
        shown = view["objects"] if asked is None else [view["objects"][i] for i in asked]
        sides = [symbol for label, box in shown for symbol in box_symbols(label, box, decimals)]
        views.append([view["background"], *sides])
    return views


def box_symbols(label: str, box: Sequence[float], decimals: int) -> list[str]:
    """One symbol for each side of a box: `["dog x1 0.05", "dog y1 0.06", ...]`."""
    return [f"{label} {side} {value:.{decimals}f}" for side, value in zip(SIDES, box, strict=True)]


def shown_objects(boxes: np.ndarray, grid: int) -> np.ndarray:
    """Which object a patch shows: the one whose box covers most of it.

    Args:
        boxes: float [N, 4], x1 y1 x2 y2 as shares of the image.
        grid: patches along each side of the image.

    Returns:
        int [grid * grid], row by row; -1 where no box covers `SMALLEST` of the patch.
    """
    if not len(boxes):
        return np.full(grid * grid, -1)
    first = np.arange(grid) / grid

    def covered(low: np.ndarray, high: np.ndarray) -> np.ndarray:
        """Share of each row or column of patches that lies between two sides, [N, grid]."""
        ends = np.minimum(high[:, None], first + 1 / grid)
        return np.clip((ends - np.maximum(low[:, None], first)) * grid, 0, 1)

    x1, y1, x2, y2 = np.asarray(boxes, np.float64).T
    share = (covered(y1, y2)[:, :, None] * covered(x1, x2)[:, None]).reshape(len(boxes), -1)
    return np.where(share.max(0) >= SMALLEST, share.argmax(0), -1)


def patch_symbols(view: Mapping[str, Any], grid: int, decimals: int) -> list[list[str]]:
    """The four symbols of each patch, row by row.

    Args:
        view: an entry of `meta["views"]` of a record.
        grid: patches along each side of the image.
        decimals: of the box.

    Returns:
        grid * grid lists: a symbol for each side of the object the patch shows, and the
        background four times where it shows none.
    """
    objects = [box_symbols(label, box, decimals) for label, box in view["objects"]]
    shown = shown_objects(np.array([box for _, box in view["objects"]]).reshape(-1, 4), grid)
    nothing = [view["background"]] * len(SIDES)
    return [objects[i] if i >= 0 else nothing for i in shown]
