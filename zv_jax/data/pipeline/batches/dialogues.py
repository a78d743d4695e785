"""Dialogues over images: stages 1 and 2."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from zv_jax.data.pipeline import views
from zv_jax.data.pipeline.batches.kind import (
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
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record_index import RecordIndex
from zv_jax.data.text import dialogue as dialogue_lib
from zv_jax.data.text.dialogue import Row


class Dialogue(NamedTuple):
    """A dialogue, its images uint8 [H, W, 3] in order, and the ids of the instruction."""

    text: Row
    images: list[np.ndarray]
    instruction: list[int]


class Dialogues(Kind):
    """A sample is one answer and what was said before it, or a whole dialogue (Base)."""

    @classmethod
    def fits(cls, facts: RecordIndex, max_images: int) -> np.ndarray:
        # A caption of no image would teach to describe what is not there.
        captions = facts.task == records_lib.TASKS.index("caption")
        return (facts.images <= max_images) & ~(captions & (facts.images == 0))

    @classmethod
    def samples(cls, facts: RecordIndex, kept: np.ndarray, one_answer: bool) -> np.ndarray:
        rows = np.flatnonzero(kept)
        if not one_answer:
            return parts(rows, WHOLE)
        counts = facts.parts[rows].astype(np.int64)
        starts = np.repeat(np.cumsum(counts) - counts, counts)
        return np.stack([np.repeat(rows, counts), np.arange(counts.sum()) - starts], axis=1)

    def row(self, sample: Sample) -> Dialogue:
        text, asked = self._turns(sample)
        source, record = sample.drawn.source, sample.record
        images = [
            self.tools.images.pixels(source, record.images[i], views.of_dialogue(sample, i))
            for i in text.images
        ]
        return Dialogue(text, images, self._instruction(sample, asked))

    def words(self, sample: Sample) -> Words:
        row, asked = self._turns(sample)
        learned = [i for i in row.input_ids if i != sample.drawn.shape.image_token_id]
        if sample.part == WHOLE:  # the Q-Former of Base reads no instruction
            return Words(learned, [], row.left_out, row.cut)
        read = self._instruction(sample, asked)[1:-1]
        unread = len(self.tools.qformer_tokenizer.encode(asked)) - len(read)
        return Words(learned, read, row.left_out, row.cut, unread)

    def _instruction(self, sample: Sample, text: str) -> list[int]:
        longest = sample.drawn.shape.max_qformer_text
        return dialogue_lib.qformer_ids(text, self.tools.qformer_tokenizer, longest)

    def _turns(self, sample: Sample) -> tuple[Row, str]:
        """A row of the dialogue, and the instruction for the Q-Former."""
        shape, part, turns = sample.drawn.shape, sample.part, sample.exchanges
        if part != WHOLE:
            turns = turns[: part + 1]
        for turn in turns if part == WHOLE else turns[-1:]:
            sample.taught(turn.answer or "")
        row = dialogue_lib.dialogue_row(
            turns,
            self.tools.tokenizer,
            num_queries=shape.num_queries,
            image_token_id=shape.image_token_id,
            max_length=shape.max_length,
            where=sample.record.id,
            prompt=shape.prompt,
            only_last=part != WHOLE,
            max_answer=shape.max_answer,
            long_answers=shape.long_answers,
        )
        return row, shape.prompt.instruction(turns[0 if part == WHOLE else -1].question)

    def collate(self, shape: BatchShape, rows: Sequence[Dialogue]) -> Batch:
        size, length = shape.image_size, shape.max_qformer_text
        # Places without an image stay black; no placeholder refers to them.
        images = np.zeros((len(rows), shape.max_images, size, size, 3), np.uint8)
        for out, row in zip(images, rows, strict=True):
            for place, pixels in enumerate(row.images):
                out[place] = pixels
        asked, pad = [row.instruction for row in rows], self.tools.qformer_tokenizer.pad_id
        return {
            "images": images,
            **text_arrays([row.text for row in rows], self.tools.tokenizer, shape.max_length),
            "qformer_input_ids": dialogue_lib.pad_right(asked, pad, length),
            "qformer_attention_mask": dialogue_lib.mask_of(asked, length),
        }


register("dialogues", Dialogues)
