"""The input pipeline: a configuration to an endless stream of numpy batches.

Built on Grain's MapDataset: sources -> shuffle -> repeat -> mix -> rows of this process -> batch.
The global batch at step n is a pure function of (sources, weights, seed, n): processes share out
its rows, and neither their number nor that of workers changes a row or its place. Starting at a
step costs no more than starting at 0.

Sources whose rows have other sizes than the rest (`SourceConfig.max_length`, `max_images`) fill
batches of their own, so that short questions are not padded to the length of long dialogues; the
kinds of batches are interleaved in proportion to the weights.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import threading
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import grain
import numpy as np

from zv_jax.config import Config, SourceConfig
from zv_jax.data import catalogue, mixing
from zv_jax.data.assemble import SYMBOL_TOKENS, Assembler, Batch, Made, Shape
from zv_jax.data.faults import Fault, Ledger, too_many
from zv_jax.data.mixing import Pick
from zv_jax.data.records import Record
from zv_jax.data.sources import Source, open_source
from zv_jax.data.symbols import SIDES
from zv_jax.data.tokenizers import Tokenizer
from zv_jax.data.vocabulary import load_tokenizers
from zv_jax.errors import ConfigError, DataError, ZvError
from zv_jax.runtime import cores

_AHEAD = 4  # batches prepared before they are asked for
_RESTARTS = 3  # of killed workers, for one batch
_LOOKED_AT = 1000  # records, for one that can be read
_VERSION = 8  # of the meaning of a step; raise it when the same step would give another batch

log = logging.getLogger(__name__)


class ArraySpec(NamedTuple):
    """Shape and dtype of one array of a batch."""

    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True)
class _Failure:
    """What went wrong in a worker, handed on as data: Grain would lose the rest of the stream."""

    error: Exception
    trace: str


class _Safely:
    """Makes a batch or a `_Failure`."""

    def __init__(self, assemble: Assembler):
        self.assemble = assemble

    def __call__(self, picks: Sequence[Pick]) -> Made | _Failure:
        try:
            return self.assemble(picks)
        except ZvError as error:
            return _Failure(error, traceback.format_exc())
        except Exception as error:  # any fault must reach the trainer, and be picklable for that
            return _Failure(
                RuntimeError(f"{type(error).__name__}: {error}"), traceback.format_exc()
            )


class _Rows(grain.MapDataset):
    """The chosen rows of each `size` elements; the others are not even looked up."""

    def __init__(self, stream: grain.MapDataset, rows: Sequence[int], size: int):
        super().__init__(stream)
        self.rows, self.size = rows, size

    def __len__(self) -> int:
        return len(self._parent) // self.size * len(self.rows)

    def __getitem__(self, place: int | slice) -> Pick | grain.MapDataset:
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
    """

    def __init__(
        self,
        open_at: Callable[[int], Iterator[Made | _Failure]],
        step: int,
        ledger: Ledger,
        names: Callable[[np.ndarray], list[str]],
    ):
        self._open_at, self._ledger, self.names = open_at, ledger, names
        self.step = step
        self._stream = open_at(step)
        self._failure: Exception | None = None

    def __next__(self) -> Batch:
        if self._failure is None:
            item = self._next()
            if isinstance(item, _Failure):
                self._failure = item.error
                item.error.add_note(f"while making batch {self.step}:\n{item.trace}")
            else:
                try:
                    self._ledger.add(self.step, item.tried, item.faults)
                except DataError as error:
                    self._failure = error
        if self._failure is not None:
            raise self._failure
        self.step += 1
        return item.batch

    def _next(self) -> Made | _Failure:
        for attempt in range(1, _RESTARTS + 1):
            try:
                return next(self._stream)
            except RuntimeError as error:
                # Only Grain itself raises here, and only when a worker process is gone.
                log.warning("batch %d, attempt %d: %s", self.step, attempt, error)
                self.close()
                self._stream = self._open_at(self.step)
        return _Failure(
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


def make_pipeline(
    config: Config,
    *,
    rows: Sequence[int] | None = None,
    start_step: int = 0,
    tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
    report: Callable[[int, Fault], None] | None = None,
) -> Batches:
    """The batches of `config.stage`, from `start_step` on.

    Args:
      config: `stage`, `data`, `train.batch_size` (global) and the sizes of `model` are read.
      rows: which rows of each global batch this process makes, in this order; by default all.
      tokenizers: of the LLM and the Q-Former; `load_tokenizers(config)` by default.
      report: called with the step and each sample that another one replaced, in order; by
        default it is logged. Records that could not even be listed come first.

    Returns:
      Batches of `len(rows)` rows with the arrays of `abstract_batch`.
      `index` numbers the sample among all samples of all sources; `image_ids` are equal for the
      same picture.

    Raises:
      ConfigError: no sample is left, or a vocabulary does not fit.
      DataError: a source cannot be read.
    """
    size = config.train.batch_size
    rows = range(size) if rows is None else rows
    chosen, sources, tables = _samples(config)
    own, other = tokenizers or load_tokenizers(config)
    shapes = [_shape(config, source) for source in chosen]
    assembler = Assembler(shapes, sources, tables, own, other, config.data.cache_images)
    names = [f"{s.name}/{s.split}" for s in chosen]
    sizes = [len(table) for table in tables]
    shares = mixing.shares(sizes, [s.weight for s in chosen], config.data.mixing)
    kinds = [
        [i for i, other in enumerate(shapes) if other == shape] for shape in dict.fromkeys(shapes)
    ]
    batches = mixing.interleaved(
        [
            _Rows(mixing.mixture(names, sizes, shares, config.seed, kind), rows, size).batch(
                len(rows), drop_remainder=True, batch_fn=_Safely(assembler)
            )
            for kind in kinds
        ],
        [sum(shares[i] for i in kind) for kind in kinds],
    )
    ledger = Ledger(config.data.max_bad, report or _log_fault)
    for item, source in zip(chosen, sources, strict=True):
        faults = _broken(item, source)
        if start_step == 0 and 0 in rows:  # once for the whole run
            for fault in faults:
                ledger.report(0, fault)
        if len(faults) > config.data.max_bad * (len(source) + len(faults)):
            share = f"{len(faults)} of {len(source) + len(faults)}"
            raise too_many(share, config.data.max_bad, faults[-1])

    def open_at(step: int) -> Iterator[Made | _Failure]:
        return iter(_read_ahead(batches[step:], config.data.workers))

    return Batches(open_at, start_step, ledger, assembler.names)


def _broken(item: SourceConfig, source: Source) -> list[Fault]:
    """The records that `source` left out when it was opened."""
    label = f"{item.name}/{item.split}"
    places = [(error, error.where or "") for error in source.broken]
    return [Fault(label, place, error.what, place) for error, place in places]


def _log_fault(step: int, fault: Fault) -> None:
    log.warning("batch %d: %s: %s (%s)", step, fault.record, fault.what, fault.where)


def _read_ahead(batches: grain.MapDataset, workers: int) -> grain.IterDataset:
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


def _samples(config: Config) -> tuple[list[SourceConfig], list[Source], list[np.ndarray]]:
    """The sources with a weight, opened, and what the stage draws from each."""
    stage, data = config.stage, config.data
    chosen = [s for s in data.sources if s.weight > 0]
    if not chosen or any(s.weight < 0 for s in data.sources):
        raise ConfigError(
            "weights " + ", ".join(str(s.weight) for s in data.sources),
            where="data.sources",
            expected="one above 0 and none below",
            fix="set the weights of data.sources",
        )
    sources, tables = [], []
    for number, item in enumerate(chosen):
        mixing.check_tasks(item.tasks, item.langs, f"data.sources[{number}]")
        source = open_source(item.name, item.path, item.split, item.image_root, tolerant=True)
        first = _first(source)
        catalogue.check_split(first.source, first.split, data.paper_mixture)
        table = mixing.samples(
            source.facts,
            stage.name,
            tasks=item.tasks,
            langs=item.langs,
            max_images=_shape(config, item).max_images,
            expand=stage.variant == "chat",
        )
        if not len(table):
            tasks = ", ".join(item.tasks or mixing.DEFAULT_TASKS[stage.name])
            raise ConfigError(
                f"source {item.name} has no sample for {stage.name}",
                where=f"data.sources[{number}]",
                expected=f"records of {tasks} in {', '.join(item.langs)} with "
                f"pictures, at most {_shape(config, item).max_images} each",
                fix="change the source's tasks, langs or max_images, or data.max_images",
            )
        log.info(
            "%s/%s: %d records, %d samples for %s",
            item.name,
            item.split,
            len(source),
            len(table),
            stage.name,
        )
        sources.append(source)
        tables.append(table)
    return chosen, sources, tables


def _first(source: Source) -> Record:
    """A record that can be read; broken ones are judged when they are drawn."""
    errors = list(source.broken)
    for index in range(min(len(source), _LOOKED_AT)):
        try:
            return source.record(index)
        except DataError as error:
            errors.append(error)
    raise errors[0]


def _shape(config: Config, source: SourceConfig) -> Shape:
    data, model = config.data, config.model
    return Shape(
        stage=config.stage.name,
        seed=config.seed,
        image_size=model.vision.image_size,
        patch_size=model.vision.patch_size,
        num_queries=model.qformer.num_queries,
        image_token_id=model.image_token_id,
        max_text=data.max_text,
        max_length=source.max_length or data.max_length,
        max_answer=data.max_answer,
        max_qformer_text=data.max_qformer_text,
        max_images=source.max_images or data.max_images,
        box_decimals=data.box_decimals,
    )


def located(config: Config, index: int) -> tuple[Source, int, int]:
    """The source, record and part of sample `index` of a batch; see `mixing.samples`."""
    _, sources, tables = _samples(config)
    for source, table in zip(sources, tables, strict=True):
        if index < len(table):
            number, part = table[index]
            return source, int(number), int(part)
        index -= len(table)
    raise IndexError(f"no sample {index} in these sources")


def samples_per_epoch(config: Config) -> list[int]:
    """How many samples each source with a weight gives before it repeats."""
    return [len(table) for table in _samples(config)[2]]


def pipeline_fingerprint(
    config: Config, tokenizers: tuple[Tokenizer, Tokenizer] | None = None
) -> dict[str, str | int]:
    """What the batches depend on beside the fields of the configuration, by names like theirs.

    Content counts, as SHA-256; paths and worker counts do not. A checkpoint holds it, so that a
    run does not go on over other data without a word.
    """
    chosen, sources, tables = _samples(config)
    found: dict[str, str | int] = {"data.version": _VERSION}
    for item, source, table in zip(chosen, sources, tables, strict=True):
        name = f"data.sources[{config.data.sources.index(item)}]"
        found[f"{name}.records"] = source.fingerprint
        found[f"{name}.samples"] = hashlib.sha256(table.tobytes()).hexdigest()
    own, other = tokenizers or load_tokenizers(config)
    return found | {
        "data.tokenizer.content": own.fingerprint,
        "data.qformer_tokenizer.content": other.fingerprint,
    }


def abstract_batch(config: Config) -> dict[str, ArraySpec]:
    """Shapes and dtypes of the largest global batch; reads no data."""
    data, size = config.data, config.model.vision.image_size
    rows = config.train.batch_size
    whole, flag = np.dtype(np.int32), np.dtype(np.bool_)

    def spec(dtype: np.dtype, *shape: int) -> ArraySpec:
        return ArraySpec((rows, *shape), dtype)

    index = {"index": spec(np.dtype(np.int64))}
    if config.stage.name == "stage0":
        return {
            "images": spec(np.dtype(np.uint8), size, size, 3),
            "text_ids": spec(whole, data.max_text),
            "text_mask": spec(flag, data.max_text),
            "image_ids": spec(whole),
        } | index
    if config.stage.name == "vision":
        patches = (size // config.model.vision.patch_size) ** 2
        return {
            "images": spec(np.dtype(np.uint8), size, size, 3),
            "symbols": spec(whole, len(SIDES) * patches, SYMBOL_TOKENS),
        } | index
    text = {
        "input_ids": spec(whole, data.max_length),
        "attention_mask": spec(flag, data.max_length),
        "labels": spec(whole, data.max_length),
    }
    if config.stage.name == "language":
        blocks = data.max_images * config.model.qformer.num_queries
        return {"symbols": spec(whole, blocks, SYMBOL_TOKENS), **text} | index
    return {
        "images": spec(np.dtype(np.uint8), data.max_images, size, size, 3),
        **text,
        "qformer_input_ids": spec(whole, data.max_qformer_text),
        "qformer_attention_mask": spec(flag, data.max_qformer_text),
    } | index
