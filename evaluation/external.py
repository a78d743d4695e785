"""Scores of predictions made elsewhere, and the files that servers take."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import zv_jax
from zv_jax.errors import DataError
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
      name: of the task. data_root: as `config.SuiteConfig.data`.
      file: the predictions. workdir: for results.json, items.jsonl, samples.jsonl.
      partial: score the records that have a prediction; the numbers are named @n.
      standing_in: the predictions are of the records that stand in for the task's.

    Returns:
      The contents of results.json.

    Raises:
      ConfigError: unknown task. DataError: files or predictions are missing or wrong.
    """
    if name in task_lib.names() and not _scored(name):
        raise DataError(
            f"{task_lib.load(name).title} is not scored from one prediction for each record",
            where=f"--benchmark={name}",
            expected="one of " + ", ".join(filter(_scored, task_lib.names())),
            fix="zv eval judge scores answers to LLaVA-bench",
        )
    part, found = _open(name, data_root, file, standing_in)
    if partial:
        kept = tuple(record for record in part.data.records if record.id in found)
        if not kept:
            raise DataError("no prediction at all", where=str(file))
        part = dataclasses.replace(part, data=dataclasses.replace(part.data, records=kept))
    asked = {"": Asking(part.items(BOX_DECIMALS), _nobody)}
    outcome = part_lib.outcome(part, asked, {"": found}, list)
    rows = part_lib.entries(part, outcome, "given|")
    writer = Writer(Path(workdir))
    for _, measure, ids in rows:
        writer.items(part.data.name, part.lang, measure, ids)
    results = {
        "predictions": str(file),
        "benchmark": name,
        "scores": [entry for entry, _, _ in rows],
        "version": zv_jax.__version__,
    }
    writer.finish(results)
    return results


def submit_file(name: str, data_root: str, file: str | Path, out: str | Path) -> int:
    """Writes the server's file of a task from predictions; returns its number of entries.

    Raises:
      ConfigError, DataError: see `submit.write` and `predictions.read`.
    """
    part, found = _open(name, data_root, file, False)
    return submit.write(part.task, part.items(BOX_DECIMALS), found, out)


def schema() -> str:
    """The JSON Schema of one prediction, as text."""
    return json.dumps(predictions_lib.SCHEMA, indent=1)


def _scored(name: str) -> bool:
    task = task_lib.load(name)
    return bool(task.expected) and task.kind in ("text", "choice")


def _nobody() -> Any:
    raise AssertionError("the predictions are given")


def _open(
    name: str, data_root: str, file: str | Path, standing_in: bool
) -> tuple[Part, Mapping[str, Prediction]]:
    task = task_lib.load(name)
    suite = SuiteConfig(
        langs=task.langs[:1], data=data_root, stand_in=STAND_IN * standing_in, controls=()
    )
    (part,) = part_lib.parts_of(suite, [task], Sources())
    return part, predictions_lib.read(Path(file), part.data.records)
