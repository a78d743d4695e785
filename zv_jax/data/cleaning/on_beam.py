"""The first pass of a cleaning on Apache Beam: the same rows as in one process, in the same order.

chunk -> examine each record -> (key, place) of each pair -> group by key -> repeats -> their chunk
                 |                                                                         |
                 +-----------------------------> group by chunk <--------------------------+
                                                       |
                                        mark the repeats, score, write rows
"""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from zv_jax.data.cleaning import duplicates, rules, scores, steps
from zv_jax.data.cleaning.steps import Row
from zv_jax.data.images import addresses as image_store
from zv_jax.data.records.record import Record
from zv_jax.data.sources import on_beam

_CHUNK = 32 * steps.BATCH  # records; whole batches, so that scores are those of one process


@dataclasses.dataclass(frozen=True)
class Runner:
    """A `run.Runner` on Beam.

    Attributes:
      options: of the pipeline.
      make_scorer: opens the scorer, once in every worker process; none: rules and duplicates only.
      crossed: score shuffled pairs too.
    """

    options: PipelineOptions
    make_scorer: Callable[[], scores.Scorer] | None = None
    crossed: bool = False

    def __call__(
        self, records: Iterable[Record], root: str, limits: rules.Rules, folder: Path
    ) -> Iterator[Row]:
        root, read, done = str(Path(root).resolve()), folder / "read", folder / "done"
        done.mkdir()
        count = on_beam.spool(steps.batches(records, _CHUNK), read)

        def build(numbers: beam.PCollection) -> None:
            examined = numbers | "Examine" >> beam.Map(_examine, read, root, limits)
            repeats = (
                examined
                | "Keys" >> beam.FlatMap(_keys)
                | "SameKey" >> beam.GroupByKey()
                | "Repeats" >> beam.FlatMap(_repeats)
            )
            finish = _Finish(done, root, self.make_scorer, self.crossed)
            both = {"rows": examined, "repeats": repeats} | "SameChunk" >> beam.CoGroupByKey()
            _ = both | "Finish" >> beam.ParDo(finish)

        on_beam.run(build, count, self.options)
        shutil.rmtree(read)
        for number in range(count):
            yield from on_beam.load(done, number)


def _examine(number: int, read: Path, root: str, limits: rules.Rules) -> tuple[int, list[Row]]:
    rows = (steps.examine(record, root, limits) for record in on_beam.load(read, number))
    return number, [dataclasses.replace(row, image=None) for row in rows]


def _keys(chunk: tuple[int, list[Row]]) -> Iterator[tuple[bytes, tuple[int, int]]]:
    number, rows = chunk
    for place, row in enumerate(rows):
        for key in row.look.keys if row.look else ():
            yield key, (number * _CHUNK + place, row.look.code)


def _repeats(same: tuple[bytes, Iterable[tuple[int, int]]]) -> Iterator[tuple[int, int]]:
    """Chunk and place in it of the pairs that have an earlier one like them."""
    for place in duplicates.repeated(same[1]):
        yield divmod(place, _CHUNK)


class _Finish(beam.DoFn):
    """Writes the finished rows of a chunk."""

    def __init__(
        self,
        done: Path,
        root: str,
        make_scorer: Callable[[], scores.Scorer] | None,
        crossed: bool,
    ):
        self.done, self.root, self.crossed = done, root, crossed
        self.make_scorer, self.scorer = make_scorer, None

    def setup(self) -> None:
        self.scorer = self.make_scorer() if self.make_scorer else None

    def process(self, chunk: tuple[int, dict[str, Iterable[Any]]]) -> None:
        number, found = chunk
        (rows,) = found["rows"]
        rows, finished = steps.marked(rows, set(found["repeats"])), []
        for batch in steps.batches(rows, steps.BATCH):
            if self.scorer:
                # Reading an image again is cheaper than sending it.
                batch = [self._shown(row) for row in batch]
            for row in steps.scored(batch, self.scorer, self.crossed):
                finished.append(dataclasses.replace(row, image=None, look=None))
        on_beam.save(self.done, number, finished)

    def _shown(self, row: Row) -> Row:
        if row.look is None:
            return row
        return dataclasses.replace(row, image=image_store.load(self.root, row.record.images[0]))
