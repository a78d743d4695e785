"""Places of the stream to numpy batches: reads records, has their rows made and put together.

A sample that cannot be used is replaced by another of its source, the same one on every machine.
"""

from __future__ import annotations

import collections
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from zv_jax.data.pipeline.bad_samples import CUT, LEFT_OUT, TOO_LONG, BadSample, Shortened, too_many
from zv_jax.data.pipeline.batches import kind as kinds
from zv_jax.data.pipeline.batches.kind import AnyRow, Batch, Drawn, Sample, Words
from zv_jax.data.pipeline.mixing import SampleRef
from zv_jax.data.text.dialogue import TooLong
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import DataError

MAX_TRIES = 100  # samples in a row, before a place of the stream stays empty


class AssembledBatch(NamedTuple):
    """A batch, how many samples of each source were tried for it, those that were bad, and what
    length did to the rest."""

    batch: Batch
    tried: Mapping[str, int]
    faults: Sequence[BadSample]
    shortened: Shortened


class Assembler:
    """Makes a batch from `Pick`s, whose `source` numbers the `Drawn`.

    A batch has the shape of its sources, which is the same for all of its picks.
    """

    def __init__(
        self,
        drawn: Sequence[Drawn],
        tokenizer: Tokenizer,
        qformer_tokenizer: Tokenizer,
        cache_images: bool,
    ):
        self.drawn = list(drawn)
        shape = drawn[0].shape  # for what all have in common
        tools = kinds.Tools(tokenizer, qformer_tokenizer, kinds.Images(shape, cache_images))
        self.tokenizer, self.qformer_tokenizer = tokenizer, qformer_tokenizer
        self.kind = kinds.KINDS[shape.kind](tools)
        self.starts = np.cumsum([0, *(len(d.table) for d in drawn)])

    def __call__(self, picks: Sequence[SampleRef]) -> AssembledBatch:
        """The batch of `picks`, its rows in their order."""
        tried: collections.Counter[str] = collections.Counter()
        shortened: collections.Counter[tuple[str, str]] = collections.Counter()
        faults: list[BadSample] = []
        rows = [self._replacing(pick, tried, faults, shortened) for pick in picks]
        shape = self.drawn[picks[0].source].shape
        batch = self.kind.collate(shape, [row for _, row in rows])
        batch["index"] = np.array([index for index, _ in rows], np.int64)
        return AssembledBatch(batch, tried, faults, shortened)

    def names(self, index: np.ndarray) -> list[str]:
        """Ids of the records that `index` of a batch numbers."""
        found = []
        for place in index.tolist():
            number = int(np.searchsorted(self.starts, place, side="right")) - 1
            record, _ = self.drawn[number].table[place - self.starts[number]]
            found.append(self.drawn[number].source.record(int(record)).id)
        return found

    def source(self, index: np.ndarray) -> int:
        """Number of the source of the first sample of `index`."""
        return int(np.searchsorted(self.starts, index[0], side="right")) - 1

    def _replacing(
        self,
        pick: SampleRef,
        tried: collections.Counter[str],
        faults: list[BadSample],
        shortened: collections.Counter[tuple[str, str]],
    ) -> tuple[int, AnyRow]:
        """The row of `pick`, or of another sample: any, since bad ones come in clusters."""
        number, sample, epoch = pick
        drawn = self.drawn[number]
        table, source, label = drawn.table, drawn.source, drawn.label
        bad: list[BadSample] = []
        for attempt in range(1, MAX_TRIES + 1):
            index, part = table[sample]
            name = source.where(int(index))
            try:
                record = source.record(int(index))
                name = record.id
                row = self.kind.row(Sample(drawn, int(index), record, int(part), epoch))
            except TooLong as error:
                shortened[label, TOO_LONG] += 1
                long = BadSample(label, name, error.what, error.where or name)
            except DataError as error:
                tried[label] += 1
                bad.append(BadSample(label, name, error.what, error.where or name))
            else:
                tried[label] += 1
                if row.text and row.text.left_out:
                    shortened[label, LEFT_OUT] += row.text.left_out
                if row.text and row.text.cut:
                    shortened[label, CUT] += row.text.cut
                faults.extend(replace(fault, instead=record.id) for fault in bad)
                return int(self.starts[number]) + sample, row
            draw = f"{drawn.place} {drawn.shape.seed} {epoch} {pick.sample} {attempt}"
            sample = zlib.crc32(draw.encode()) % len(table)
        if 2 * len(bad) > MAX_TRIES:
            raise too_many(f"{len(bad)} of {MAX_TRIES}", 0.0, bad[-1])
        share = f"{MAX_TRIES - len(bad)} of {MAX_TRIES}" if bad else str(MAX_TRIES)
        raise TooLong(
            f"{share} samples of {label} in a row are too long; the last: {long.what}",
            where=f"{long.record}: {long.where}",
            expected="samples that fit",
            fix="raise data.max_length (and data.max_answer), or leave the source out",
        )

    def words(self, number: int, index: int, part: int, epoch: int) -> Words:
        """The texts of one sample of source `number`, as they are learned; images are not read.

        Raises:
          DataError: the sample cannot be used; `TooLong` where nothing of it fits.
        """
        drawn = self.drawn[number]
        return self.kind.words(Sample(drawn, index, drawn.source.record(index), part, epoch))
