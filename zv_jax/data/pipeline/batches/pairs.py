"""Images with a caption each: stage 0."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from zv_jax.data.pipeline import views
from zv_jax.data.pipeline.batches.kind import Batch, BatchShape, Kind, Sample, Words, register
from zv_jax.data.text import dialogue as dialogue_lib
from zv_jax.data.text.dialogue import Row


class Pair(NamedTuple):
    """An image uint8 [H, W, 3], the number that its content has, and its caption."""

    pixels: np.ndarray
    image_id: int
    text: Row


class Pairs(Kind):
    """Every sample is a record of one image, whose caption is drawn anew each epoch."""

    tasks = ("caption",)

    def row(self, sample: Sample) -> Pair:
        record, view = sample.record, views.of_pair(sample)
        if view:
            sample = replace(sample, record=views.moved(record, view))
        text = self._caption(sample)
        pixels, name = self.tools.images.identified(sample.drawn.source, record.images[0], view)
        return Pair(pixels, name, text)

    def words(self, sample: Sample) -> Words:
        row = self._caption(sample)
        return Words([], row.input_ids[1:-1], row.left_out, row.cut)

    def _caption(self, sample: Sample) -> Row:
        shape = sample.drawn.shape
        return dialogue_lib.caption_row(
            sample.caption(), self.tools.qformer_tokenizer, shape.max_text, shape.long_answers
        )

    def collate(self, shape: BatchShape, rows: Sequence[Pair]) -> Batch:
        pixels, names, texts = zip(*rows, strict=True)
        tokenizer, length, ignore = (
            self.tools.qformer_tokenizer, shape.max_text, dialogue_lib.IGNORE,
        )  # fmt: skip
        ids, labels = [row.input_ids for row in texts], [row.labels for row in texts]
        return {
            "images": np.stack(pixels),
            "text_ids": dialogue_lib.pad_right(ids, tokenizer.pad_id, length),
            "text_mask": dialogue_lib.mask_of(ids, length),
            "text_learned": dialogue_lib.pad_right(labels, ignore, length) != ignore,
            "image_ids": np.array(names, np.int32),
            "dec_id": np.array(tokenizer.dec_id, np.int32),
        }


register("pairs", Pairs)
