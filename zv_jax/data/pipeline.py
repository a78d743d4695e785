"""The input pipeline: a configuration to an endless stream of numpy batches.

Built on Grain's MapDataset: sources -> shuffle -> repeat -> mix -> stride by process -> batch. The
global batch at step n is a pure function of (sources, weights, seed, n): the number of processes
and of workers changes neither its rows nor their order within a process, and starting at a step
costs no more than starting at 0.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import threading
import traceback
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import grain
import numpy as np

from zv_jax.config import Config, SourceConfig
from zv_jax.data import catalogue, mixing
from zv_jax.data.assemble import SYMBOL_TOKENS, Assembler, Batch, Shape
from zv_jax.data.mixing import Pick
from zv_jax.data.sources import Source, open_source
from zv_jax.data.tokenizers import Tokenizer
from zv_jax.data.vocabulary import load_tokenizers
from zv_jax.errors import ConfigError, ZvError

_AHEAD = 4  # batches prepared before they are asked for
_VERSION = 6  # of the meaning of a step; raise it when the same step would give another batch

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

    def __call__(self, picks: Sequence[Pick]) -> Batch | _Failure:
        try:
            return self.assemble(picks)
        except ZvError as error:
            return _Failure(error, traceback.format_exc())
        except Exception as error:  # any fault must reach the trainer, and be picklable for that
            return _Failure(
                RuntimeError(f"{type(error).__name__}: {error}"), traceback.format_exc()
            )


class Batches(Iterator[Batch]):
    """An endless iterator of batches; `step` is the number of the next one.

    A fault in the data is raised by `next`, in the process that asked, and once more by every
    later `next`.
    """

    def __init__(self, stream: Iterator[Batch | _Failure], step: int):
        self._stream, self.step = stream, step
        self._failure: _Failure | None = None

    def __next__(self) -> Batch:
        if self._failure is None:
            item = next(self._stream)
            if not isinstance(item, _Failure):
                self.step += 1
                return item
            self._failure = item
            item.error.add_note(f"while making batch {self.step}:\n{item.trace}")
        raise self._failure.error

    def close(self) -> None:
        """Stops the threads or processes behind it."""
        close = getattr(self._stream, "close", None)
        if close:
            close()


def make_pipeline(
    config: Config,
    *,
    process_index: int = 0,
    process_count: int = 1,
    start_step: int = 0,
    tokenizers: tuple[Tokenizer, Tokenizer] | None = None,
) -> Batches:
    """The batches of `config.stage`, from `start_step` on.

    Args:
      config: `stage`, `data`, `train.batch_size` (global) and the sizes of `model` are read.
      process_index, process_count: this process gets every `process_count`-th row.
      tokenizers: of the LLM and the Q-Former; `load_tokenizers(config)` by default.

    Returns:
      Batches of `train.batch_size // process_count` rows with the arrays of `abstract_batch`.
      `index` numbers the sample among all samples of all sources; `image_ids` are equal for the
      same picture.

    Raises:
      ConfigError: no sample is left, the batch does not divide, or a vocabulary does not fit.
      DataError: a source cannot be read.
    """
    size = config.train.batch_size
    if size % process_count:
        raise ConfigError(
            f"a batch of {size} rows for {process_count} processes",
            where="train.batch_size",
            expected=f"a multiple of {process_count}",
            fix=f"set --config.train.batch_size={size + -size % process_count}",
        )
    chosen, sources, tables = _samples(config)
    own, other = tokenizers or load_tokenizers(config)
    assembler = Assembler(_shape(config), sources, tables, own, other, config.data.cache_images)
    names = [f"{s.name}/{s.split}" for s in chosen]
    sizes = [len(table) for table in tables]
    shares = mixing.shares(sizes, [s.weight for s in chosen], config.data.mixing)
    stream = mixing.mixture(names, sizes, shares, config.seed)
    batches = stream[process_index::process_count].batch(
        size // process_count, drop_remainder=True, batch_fn=_Safely(assembler)
    )
    return Batches(iter(_read_ahead(batches[start_step:], config.data.workers)), start_step)


def _read_ahead(batches: grain.MapDataset, workers: int) -> grain.IterDataset:
    if not workers:
        threads = min(_AHEAD, os.cpu_count() or 1)
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
        source = open_source(item.name, item.path, item.split, item.image_root)
        first = source.record(0)
        catalogue.check_split(first.source, first.split, data.paper_mixture)
        table = mixing.samples(
            source.facts,
            stage.name,
            tasks=item.tasks,
            langs=item.langs,
            max_images=data.max_images,
            expand=stage.variant == "chat",
        )
        if not len(table):
            tasks = ", ".join(item.tasks or mixing.DEFAULT_TASKS[stage.name])
            raise ConfigError(
                f"source {item.name} has no sample for {stage.name}",
                where=f"data.sources[{number}]",
                expected=f"records of {tasks} in {', '.join(item.langs)} with "
                f"pictures, at most {data.max_images} each",
                fix="change the source's tasks or langs, or data.max_images",
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


def _shape(config: Config) -> Shape:
    data, model = config.data, config.model
    return Shape(
        stage=config.stage.name,
        seed=config.seed,
        image_size=model.vision.image_size,
        patch_size=model.vision.patch_size,
        num_queries=model.qformer.num_queries,
        image_token_id=model.image_token_id,
        max_text=data.max_text,
        max_length=data.max_length,
        max_answer=data.max_answer,
        max_qformer_text=data.max_qformer_text,
        max_images=data.max_images,
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


def abstract_batch(config: Config, process_count: int = 1) -> dict[str, ArraySpec]:
    """Shapes and dtypes of one process's batch; reads no data."""
    data, size = config.data, config.model.vision.image_size
    rows = config.train.batch_size // process_count
    whole, flag = np.dtype(np.int32), np.dtype(np.bool_)

    def spec(dtype: np.dtype, *shape: int) -> ArraySpec:
        return ArraySpec((rows, *shape), dtype)

    index = {"index": spec(np.dtype(np.int64))}
    if config.stage.name == "stage0":
        return {
            "images": spec(np.dtype(np.float32), size, size, 3),
            "text_ids": spec(whole, data.max_text),
            "text_mask": spec(flag, data.max_text),
            "image_ids": spec(whole),
        } | index
    if config.stage.name == "vision":
        patches = (size // config.model.vision.patch_size) ** 2
        return {
            "images": spec(np.dtype(np.float32), size, size, 3),
            "symbols": spec(whole, 4 * patches, SYMBOL_TOKENS),
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
        "images": spec(np.dtype(np.float32), data.max_images, size, size, 3),
        **text,
        "qformer_input_ids": spec(whole, data.max_qformer_text),
        "qformer_attention_mask": spec(flag, data.max_qformer_text),
    } | index
