"""Scores of predictions made elsewhere, and the files that servers take."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zv_jax
from zv_jax.errors import DataError
from zv_jax.evaluation.benchmarks import predictions as predictions_lib
from zv_jax.evaluation.benchmarks import scoring, spec, submit
from zv_jax.evaluation.benchmarks.data import Data, from_files, stand_in
from zv_jax.evaluation.benchmarks.predictions import Prediction
from zv_jax.evaluation.benchmarks.run import Sink, entries
from zv_jax.evaluation.benchmarks.spec import Benchmark


def score_file(
    name: str,
    data_root: str,
    file: str | Path,
    workdir: str | Path,
    partial: bool = False,
    standing_in: bool = False,
) -> dict[str, Any]:
    """Scores a file of predictions (`predictions.SCHEMA`) as if they were our model's.

    Args:
      name: of the benchmark. data_root: as in `config.BenchmarkSuite.data`.
      file: the predictions. workdir: for results.json, items.jsonl, samples.jsonl.
      partial: score the records that have a prediction; the numbers are named @n.
      standing_in: the predictions are of the records that stand in for the benchmark's.

    Returns:
      The contents of results.json.

    Raises:
      ConfigError: unknown benchmark. DataError: files or predictions are missing or wrong.
    """
    benchmark = spec.load(name)
    if benchmark.kind not in scoring.KINDS:
        raise DataError(
            f"{benchmark.title} is not scored from one prediction for each record",
            where=f"--benchmark={name}",
            expected="one of "
            + ", ".join(n for n in spec.names() if spec.load(n).kind in scoring.KINDS),
            fix="zv eval judge scores answers to LLaVA-bench",
        )
    data, found = _open(benchmark, data_root, file, standing_in)
    if partial:
        kept = tuple(record for record in data.records if record.id in found)
        if not kept:
            raise DataError("no prediction at all", where=str(file))
        data = Data(kept, data.expected, data.picture, data.name)
    said = scoring.by_record(found, data.records)
    scored = scoring.score(benchmark, data.records, said)
    sink = Sink(Path(workdir), 0)
    sink.items(benchmark, data, scored.measures)
    results = {
        "predictions": str(file),
        "benchmark": name,
        "scores": entries(benchmark, data, scored.measures, "given|", 0),
        "version": zv_jax.__version__,
    }
    sink.writer.finish(results)
    return results


def submit_file(name: str, data_root: str, file: str | Path, out: str | Path) -> int:
    """Writes the server's file of a benchmark from predictions; returns its number of entries.

    Raises:
      ConfigError, DataError: see `submit.write` and `predictions.read`.
    """
    benchmark = spec.load(name)
    data, found = _open(benchmark, data_root, file, False)
    return submit.write(benchmark, data.records, found, out)


def schema() -> str:
    """The JSON Schema of one prediction, as text."""
    return json.dumps(predictions_lib.SCHEMA, indent=1)


def _open(
    benchmark: Benchmark, data_root: str, file: str | Path, standing_in: bool
) -> tuple[Data, Mapping[str, Prediction]]:
    data = stand_in(benchmark) if standing_in else from_files(benchmark, data_root)
    return data, predictions_lib.read(Path(file), data.records)
