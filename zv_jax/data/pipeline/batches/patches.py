"""Images with what each of their patches shows, in symbols: the vision warm-up."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zv_jax.data.pipeline.batches.kind import Batch, BatchShape, Kind, Sample, Words, register
from zv_jax.data.pipeline.symbols import encoded, patch_symbols
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
                fix="leave the vision warm-up out, or train it on zv_openmoji, which has them",
            )
        (view,) = record.meta["views"]
        grid = shape.image_size // shape.patch_size
        patches = patch_symbols(view, grid, shape.box_decimals)
        tokenizer = self.tools.tokenizer
        symbols = {text: encoded(text, tokenizer) for texts in patches for text in texts}
        pixels = self.tools.images.pixels(sample.drawn.source, record.images[0])
        return LabelledImage(pixels, np.stack([symbols[t] for texts in patches for t in texts]))

    def words(self, sample: Sample) -> Words:
        return Words([], [])  # symbols are made for the purpose, and never too long

    def collate(self, shape: BatchShape, rows: Sequence[LabelledImage]) -> Batch:
        return {
            "images": np.stack([row.pixels for row in rows]),
            "symbols": np.stack([row.symbols for row in rows]),
        }


register("patches", Patches)
