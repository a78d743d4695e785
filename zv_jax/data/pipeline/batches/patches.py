"""Images with what each of their patches shows, in symbols: the vision warm-up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from zv_jax.data.pipeline.batches.kind import Batch, BatchShape, Kind, Sample, Words, register
from zv_jax.data.pipeline.symbols import encoded, patch_symbols
from zv_jax.data.text.templates import seeded
from zv_jax.errors import DataError


class LabelledImage(NamedTuple):
    """An image uint8 [H, W, 3], and symbols int32 [patches * 4, K] of its patches, row by row."""

    pixels: np.ndarray
    symbols: np.ndarray
    text: None = None


class Patches(Kind):
    """Every sample is a record of one image, with `meta["views"]`."""

    tasks = ("caption",)

    def row(self, sample: Sample) -> LabelledImage:
        record, shape = sample.record, sample.drawn.shape
        if "views" not in record.meta:
            raise DataError(
                "nothing says what the parts of the picture show",
                where=f"{record.id}: meta.views",
                expected="the background, and labels and boxes of the objects",
                fix="use records that have them, or start from a ViT trained elsewhere",
            )
        pixels = self.tools.images.pixels(sample.drawn.source, record.images[0])
        rng = np.random.default_rng(seeded(shape.seed, record.id, sample.epoch, "shift"))
        pixels, view = shifted(pixels, record.meta["views"][0], shape.patch_size // 2, rng)
        grid = shape.image_size // shape.patch_size
        patches = patch_symbols(view, grid, shape.box_decimals)
        tokenizer = self.tools.tokenizer
        symbols = {text: encoded(text, tokenizer) for texts in patches for text in texts}
        return LabelledImage(pixels, np.stack([symbols[t] for texts in patches for t in texts]))

    def words(self, sample: Sample) -> Words:
        return Words([], [])  # symbols are made for the purpose, and never too long

    def collate(self, shape: BatchShape, rows: Sequence[LabelledImage]) -> Batch:
        return {
            "images": np.stack([row.pixels for row in rows]),
            "symbols": np.stack([row.symbols for row in rows]),
        }


def shifted(
    pixels: np.ndarray, view: Mapping[str, Any], most: int, rng: np.random.Generator
) -> tuple[np.ndarray, Mapping[str, Any]]:
    """The scene moved by up to `most` pixels each way, and its view.

    Of an object few places in the grid of patches are ever seen; moved, it has nearly all of them.
    No object leaves the image, so that only background comes in again on the other side.

    Args:
        pixels: uint8 [H, W, 3], on a background of one colour.
        view: an entry of `meta["views"]`.
    """
    boxes = np.array([box for _, box in view["objects"]], np.float64).reshape(-1, 2, 2)
    if not len(boxes):
        return pixels, view
    size = np.array(pixels.shape[1::-1])  # width, height, as boxes have x first
    # A pixel more than the box, for what resizing blurs.
    low = np.minimum(0, 1 - np.floor(boxes[:, 0].min(0) * size)).clip(-most).astype(int)
    high = np.maximum(0, np.floor((1 - boxes[:, 1].max(0)) * size) - 1).clip(None, most).astype(int)
    by = rng.integers(low, high, endpoint=True)
    moved = (boxes + by / size).reshape(-1, 4).tolist()
    labels = [label for label, _ in view["objects"]]
    objects = [list(pair) for pair in zip(labels, moved, strict=True)]
    return np.roll(pixels, tuple(by), (1, 0)), {**view, "objects": objects}


register("patches", Patches)
