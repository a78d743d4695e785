"""Scores of predictions made elsewhere, and the files that servers take."""

from __future__ import annotations

import dataclasses
import functools
import json
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zv_jax
from zv_jax.errors import DataError, unknown_name
from zv_jax.evaluation import part as part_lib
from zv_jax.evaluation import predictions as predictions_lib
from zv_jax.evaluation import submit
from zv_jax.evaluation import task as task_lib
from zv_jax.evaluation.config import SuiteConfig
from zv_jax.evaluation.data import STAND_IN, Sources
from zv_jax.evaluation.part import Asking, Part
from zv_jax.evaluation.predict import BOX_DECIMALS
from zv_jax.evaluation.predictions import Prediction
from zv_jax.evaluation.results import Writer
from zv_jax.evaluation.score import SCORERS
from zv_jax.evaluation.task import Task

log = logging.getLogger(__name__)


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
      name: of the task, or the .yaml file of one's own (`task.read`).
      data_root: as `config.SuiteConfig.data`; of a task of one's own the path of its source.
      file: the predictions. workdir: for results.json, items.jsonl, samples.jsonl.
      partial: score the records that have a prediction; the numbers are named @n.
      standing_in: the predictions are of the records that stand in for the task's.

    Returns:
      The contents of results.json.

    Raises:
      ConfigError: unknown task. DataError: files or predictions are missing or wrong.
    """
    task = _task(name)
    if not _scored(task):
        raise DataError(
            f"{task.title} is not scored from one prediction for each record",
            where=f"--benchmark={name}",
            expected="a file of your own, or one of " + ", ".join(_public()),
            fix="zv eval judge scores answers to LLaVA-bench",
        )
    parts, found = _open(task, data_root, file, standing_in)
    if partial:
        parts = _answered(parts, found, file)
    writer, scores = Writer(Path(workdir)), []
    for part in parts:
        asked = {"": Asking(part.items(BOX_DECIMALS), _nobody)}
        outcome = part_lib.outcome(part, asked, {"": found}, list)
        for row, measure, ids in part_lib.entries(part, outcome, "given|"):
            scores.append(row)
            writer.items(part.data.name, part.lang, measure, ids)
    results = {
        "predictions": str(file),
        "benchmark": name,
        "scores": scores,
        "version": zv_jax.__version__,
    }
    writer.finish(results)
    return results


def submit_file(name: str, data_root: str, file: str | Path, out: str | Path) -> int:
    """Writes the server's file of a task from predictions; returns its number of entries.

    Raises:
      ConfigError, DataError: see `submit.write` and `predictions.read`.
    """
    (part,), found = _open(task_lib.load(name), data_root, file, False)
    return submit.write(part.task, part.items(BOX_DECIMALS), found, out)


def schema() -> str:
    """The JSON Schema of one prediction, as text."""
    return json.dumps(predictions_lib.SCHEMA, indent=1)


def _task(name: str) -> Task:
    """The task of a name or of a file."""
    task = task_lib.read(Path(name)) if name.endswith((".yaml", ".yml")) else task_lib.load(name)
    for metric in task.metrics:
        if task.kind != "retrieval" and metric not in SCORERS:
            raise unknown_name("metric", metric, SCORERS, f"{name}, field metrics")
    return task


def _public() -> list[str]:
    return [
        name for name in task_lib.names() if _scored(task := task_lib.load(name)) and task.expected
    ]


def _scored(task: Task) -> bool:
    own = task.name not in task_lib.names()
    return (own or bool(task.expected)) and task.kind in ("text", "choice")


def _answered(parts: list[Part], found: Mapping[str, Prediction], file: str | Path) -> list[Part]:
    """The parts with the records that have a prediction; `DataError` where none has."""
    kept = []
    for part in parts:
        records = tuple(record for record in part.data.records if record.id in found)
        if records:
            data = dataclasses.replace(part.data, records=records)
            kept.append(dataclasses.replace(part, data=data))
    if not kept:
        raise DataError("no prediction at all", where=str(file))
    return kept


def _nobody() -> Any:
    raise AssertionError("the predictions are given")


def _open(
    task: Task, data_root: str, file: str | Path, standing_in: bool
) -> tuple[list[Part], Mapping[str, Prediction]]:
    """The task in each of its languages, and the predictions of all their records."""
    suite = SuiteConfig(
        langs=task.langs, data=data_root, stand_in=STAND_IN * standing_in, controls=()
    )
    sources = Sources("" if task.expected else data_root)
    absent = functools.partial(log.warning, "left out: %s: %s")
    parts = part_lib.parts_of(suite, [task], sources, absent)
    records = [record for part in parts for record in part.data.records]
    return parts, predictions_lib.read(Path(file), records)
