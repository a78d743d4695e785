"""Chunks of records on Apache Beam, for sets whose images are too many for one machine.

Records are read here, one after the other, and laid down as numbered files in a folder that all
workers see. A worker makes of a chunk what this process would make of it, by the same function, and
writes it under the chunk's number: neither the number of workers nor their order changes a byte.
"""

from __future__ import annotations

import functools
import pickle
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions

from zv_jax.data.sources import shards
from zv_jax.data.sources.shards import Settings
from zv_jax.errors import DataError
from zv_jax.files import write_atomic

# What the DirectRunner falls back to; first it tries a program that it downloads from GitHub.
_DIRECT = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"


def pipeline_options(words: Sequence[str], workers: int) -> PipelineOptions:
    """Options of Beam from `NAME=VALUE` words; else the DirectRunner in `workers` processes."""
    direct = [f"runner={_DIRECT}", f"direct_num_workers={max(1, workers)}"]
    if workers > 1:
        direct.append("direct_running_mode=multi_processing")
    return PipelineOptions([f"--{word}" for word in [*direct, *words]])


def save(folder: Path, number: int, value: Any) -> None:
    """Writes a chunk, whole or not at all, since a runner may repeat or double any work."""
    write_atomic(folder / f"{number}.pickle", pickle.dumps(value))


def load(folder: Path, number: int) -> Any:
    """The chunk that `save` wrote."""
    return pickle.loads((folder / f"{number}.pickle").read_bytes())


def spool(chunks: Iterable[Any], folder: Path) -> int:
    """Lays down `chunks` in a new folder and returns their number."""
    folder.mkdir(parents=True)
    count = 0
    for count, chunk in enumerate(chunks, 1):
        save(folder, count - 1, chunk)
    return count


def run(build: Callable[[beam.PCollection], Any], count: int, options: PipelineOptions) -> None:
    """Builds a pipeline upon the numbers of `count` chunks and waits for its end.

    Raises:
      DataError: it failed; the error of the worker is in the message.
    """
    try:
        with beam.Pipeline(options=options) as pipeline:
            build(pipeline | beam.Create(range(count)) | beam.Reshuffle())
    except Exception as error:
        raise DataError(
            f"the Beam pipeline failed: {error}",
            where=options.view_as(StandardOptions).runner,
            fix="see the cause with --debug; the same command continues",
        ) from error


def shard_writer(options: PipelineOptions) -> Callable[..., Iterator[dict[str, Any]]]:
    """The `writer` of `prepare.prepare` that makes the shards on Beam."""
    return functools.partial(_write_shards, options)


def _write_shards(
    options: PipelineOptions,
    chunks: Iterable[list[bytes]],
    root: str,
    out: str,
    settings: Settings,
) -> Iterator[dict[str, Any]]:
    folder = Path(out).resolve() / ".chunks"
    shutil.rmtree(folder, ignore_errors=True)  # of an interrupted run
    try:
        count = spool(chunks, folder)
        one = functools.partial(_write_shard, folder, root, str(folder.parent), settings)
        run(lambda numbers: numbers | "WriteShard" >> beam.Map(one), count, options)
        for number in range(count):
            # It is there: only its facts are read.
            yield shards.write(number, load(folder, number), root, out, settings)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_shard(folder: Path, root: str, out: str, settings: Settings, number: int) -> None:
    shards.write(number, load(folder, number), root, out, settings)
