"""Text alone, with images in symbols: the language warm-up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from zv_jax.data.pipeline.batches.kind import (
    BARE,
    WHOLE,
    Batch,
    BatchShape,
    Kind,
    Sample,
    Words,
    parts,
    register,
    text_arrays,
)
from zv_jax.data.pipeline.symbols import encoded, symbolic_views
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import Record
from zv_jax.data.records.record_index import RecordIndex
from zv_jax.data.text import dialogue as dialogue_lib
from zv_jax.data.text.dialogue import Row
from zv_jax.data.text.templates import seeded
from zv_jax.warmup.symbols import EMPTY, SYMBOL_TOKENS


class Told(NamedTuple):
    """A row of text and, for each of its image blocks, the image in symbols, int32 [Q, K]."""

    text: Row
    views: list[np.ndarray]


class Texts(Kind):
    """Every dialogue whole, and every caption once more as bare text."""

    @classmethod
    def fits(cls, facts: RecordIndex, max_images: int) -> np.ndarray:
        return np.ones(len(facts.task), bool)  # no image is seen

    @classmethod
    def samples(cls, facts: RecordIndex, kept: np.ndarray, one_answer: bool) -> np.ndarray:
        bare = kept & (facts.task == records_lib.TASKS.index("caption"))
        whole = parts(np.flatnonzero(kept), WHOLE)
        return np.concatenate([whole, parts(np.flatnonzero(bare), BARE)])

    def row(self, sample: Sample) -> Told:
        shape, record, tokenizer = sample.drawn.shape, sample.record, self.tools.tokenizer
        if sample.part == BARE:
            text = sample.caption()
            row = dialogue_lib.text_row(text, tokenizer, shape.max_length, shape.long_answers)
            return Told(row, [])
        # Half of the views show only what is asked about, as the Q-Former of Chat can.
        narrow = bool(seeded(shape.seed, record.id, sample.epoch, "narrow") % 2)
        views = self._views(sample, narrow) if len(record.images) <= shape.max_images else []
        turns = list(sample.exchanges)
        own = len(turns)
        if views:
            turns += self._others(sample, narrow)
        row = dialogue_lib.dialogue_row(
            turns,
            tokenizer,
            num_queries=shape.num_queries if views else 0,
            image_token_id=shape.image_token_id,
            max_length=shape.max_length,
            where=record.id,
            long_answers=shape.long_answers,
            prompt=shape.prompt,
        )
        # The others only fill up; each is a sample of its own.
        row = replace(row, left_out=max(0, row.left_out - (len(turns) - own)))
        if not views:
            # Nothing to answer from: learn the questions too.
            row = replace(row, labels=[dialogue_lib.IGNORE, *row.input_ids[1:]], images=())
            return Told(row, [])
        return Told(row, [views[i] for i in row.images])

    def words(self, sample: Sample) -> Words:
        row = self.row(sample).text
        learned = [i for i in row.input_ids if i != sample.drawn.shape.image_token_id]
        return Words(learned, [], row.left_out, row.cut)

    def _others(self, sample: Sample, narrow: bool) -> Iterator[dialogue_lib.Exchange]:
        """One view serves many questions: those that fill the row, of records it answers too."""
        record, shape = sample.record, sample.drawn.shape
        others = [
            other
            for other in _companions(sample)
            if not narrow or other.meta["views"] == record.meta["views"]
        ]
        # In any order, or the first of an image's questions would fill few rows but their own.
        rng = np.random.default_rng(seeded(shape.seed, record.id, sample.epoch, "companions"))
        for other in (others[i] for i in rng.permutation(len(others))):
            yield from (replace(turn, images=()) for turn in sample.exchanges_of(other))

    def _views(self, sample: Sample, narrow: bool) -> list[np.ndarray]:
        """Each image in symbols, int32 [num_queries, SYMBOL_TOKENS], or nothing where the record
        has none: one symbol takes the place of one visual token, the other places stay empty.

        A language model that has read such views knows how to answer from what precedes a
        question; the later stages only have to write images in a form that it reads. The places
        are drawn anew each time, since no query is bound to a part of the image.
        """
        shape, record = sample.drawn.shape, sample.record
        views = []
        for number, view in enumerate(symbolic_views(record, shape.box_decimals, narrow)):
            symbols = np.full((shape.num_queries, SYMBOL_TOKENS), EMPTY, np.int32)
            seed = seeded(shape.seed, record.id, sample.epoch, f"view {number}")
            places = np.random.default_rng(seed).permutation(len(symbols))
            for place, text in zip(places, view, strict=False):
                symbols[place] = encoded(text, self.tools.tokenizer)
            views.append(symbols)
        return views

    def collate(self, shape: BatchShape, rows: Sequence[Told]) -> Batch:
        symbols = np.full(
            (len(rows), shape.max_images * shape.num_queries, SYMBOL_TOKENS), EMPTY, np.int32
        )
        for out, row in zip(symbols, rows, strict=True):
            if row.views:
                out[: len(row.views) * shape.num_queries] = np.concatenate(row.views)
        texts = [row.text for row in rows]
        return {"symbols": symbols, **text_arrays(texts, self.tools.tokenizer, shape.max_length)}


def _companions(sample: Sample) -> Iterator[Record]:
    """Records of the mixture about the same one image, in the same language."""
    drawn, record = sample.drawn, sample.record
    if len(record.images) != 1:
        return
    for step, end in ((1, len(drawn.source)), (-1, -1)):
        for place in range(sample.index + step, end, step):
            other = drawn.source.record(place)
            if (other.images[:1], other.lang) != (record.images, record.lang):
                break
            if drawn.learned[place] and len(other.images) == 1:
                yield other


register("texts", Texts)
