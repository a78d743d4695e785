"""The stream of batches: made ahead by threads or processes, in order, and begun at any step.

What goes wrong in a worker comes back as data, so that it is raised where the batch was asked for;
a worker that was killed is replaced.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import grain

from zv_jax.data.pipeline.assembler import AssembledBatch, Assembler
from zv_jax.data.pipeline.bad_samples import BadSampleCounter
from zv_jax.data.pipeline.batches.kind import Batch
from zv_jax.data.pipeline.mixing import SampleRef
from zv_jax.errors import DataError, ZvError
from zv_jax.parallel.runtime import cores

_AHEAD = 4  # batches prepared before they are asked for
_RESTARTS = 3  # of killed workers, for one batch

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Failure:
    """What went wrong in a worker, handed on as data: Grain would lose the rest of the stream."""

    error: Exception
    trace: str


class CatchErrors:
    """Makes a batch or a `Failure`."""

    def __init__(self, assemble: Assembler):
        self.assemble = assemble

    def __call__(self, picks: Sequence[SampleRef]) -> AssembledBatch | Failure:
        try:
            return self.assemble(picks)
        except ZvError as error:
            return Failure(error, traceback.format_exc())
        except Exception as error:  # any fault must reach the trainer, and be picklable for that
            return Failure(RuntimeError(f"{type(error).__name__}: {error}"), traceback.format_exc())


class Rows(grain.MapDataset):
    """The chosen rows of each `size` elements; the others are not even looked up."""

    def __init__(self, stream: grain.MapDataset, rows: Sequence[int], size: int):
        super().__init__(stream)
        self.rows, self.size = rows, size

    def __len__(self) -> int:
        return len(self._parent) // self.size * len(self.rows)

    def __getitem__(self, place: int | slice) -> SampleRef | grain.MapDataset:
        if isinstance(place, slice):
            return self.slice(place)
        step, row = divmod(place, len(self.rows))
        return self._parent[step * self.size + self.rows[row]]


class Batches(Iterator[Batch]):
    """An endless iterator of batches; `step` is the number of the next one.

    A fault in the data is raised by `next`, in the process that asked, and once more by every
    later `next`. A worker process that was killed is replaced, and nothing is lost: the stream
    begins again at the step that is missing.

    Attributes:
      names: ids of the records that `index` of a batch numbers.
      source: number of the first one's source, among those with a weight.
      labels: of these sources.
    """

    def __init__(
        self,
        open_at: Callable[[int], Iterator[AssembledBatch | Failure]],
        step: int,
        ledger: BadSampleCounter,
        assembler: Assembler,
    ):
        self._open_at, self._ledger = open_at, ledger
        self.names, self.source = assembler.names, assembler.source
        self.labels = [drawn.label for drawn in assembler.drawn]
        self.step = step
        self._stream = open_at(step)
        self._failure: Exception | None = None

    def __next__(self) -> Batch:
        if self._failure is None:
            item = self._next()
            if isinstance(item, Failure):
                self._failure = item.error
                item.error.add_note(f"while making batch {self.step}:\n{item.trace}")
            else:
                try:
                    self._ledger.add(self.step, item.tried, item.faults, item.shortened)
                except DataError as error:
                    self._failure = error
        if self._failure is not None:
            raise self._failure
        self.step += 1
        return item.batch

    def _next(self) -> AssembledBatch | Failure:
        for attempt in range(1, _RESTARTS + 1):
            try:
                return next(self._stream)
            except RuntimeError as error:
                # Only Grain itself raises here, and only when a worker process is gone.
                log.warning("batch %d, attempt %d: %s", self.step, attempt, error)
                self.close()
                self._stream = self._open_at(self.step)
        return Failure(
            DataError(
                f"the processes that prepare data were killed {_RESTARTS} times in a row",
                where=f"batch {self.step}",
                expected="workers that live; the system kills them when memory runs out",
                fix="lower --config.data.workers, or set data.cache_images to False",
            ),
            "",
        )

    def close(self) -> None:
        """Stops the threads or processes behind it."""
        close = getattr(self._stream, "close", None)
        if close:
            close()


def read_ahead(batches: grain.MapDataset, workers: int) -> grain.IterDataset:
    """The batches in order, made by threads of this process or by `workers` others."""
    if not workers:
        threads = min(_AHEAD, cores())
        return batches.to_iter_dataset(grain.ReadOptions(threads, _AHEAD))
    from absl import flags

    if not flags.FLAGS.is_parsed():
        # Grain reads its own flags when it starts workers; a library user has no command line.
        flags.FLAGS.mark_as_parsed()
    # The batch is an element of the MapDataset, so workers deal out whole batches in order.
    read = batches.to_iter_dataset(grain.ReadOptions(1, 1))
    options = grain.MultiprocessingOptions(workers, per_worker_buffer_size=2)
    return read.mp_prefetch(options, worker_init_fn=_end_with_parent)


def _end_with_parent(worker: int, workers: int) -> None:
    """Ends this worker when the trainer is gone; a killed one cannot tell its workers to stop."""
    del worker, workers
    parent = multiprocessing.parent_process()

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, name="end-with-parent", daemon=True).start()
