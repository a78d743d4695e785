"""Files for evaluation servers: VQAv2 and VizWiz (EvalAI), GQA, NoCaps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zv_jax.data.records.record import Record
from zv_jax.errors import ConfigError, DataError
from zv_jax.evaluation import task as task_lib
from zv_jax.evaluation.predict import Item
from zv_jax.evaluation.predictions import Prediction
from zv_jax.evaluation.score import by_item
from zv_jax.evaluation.task import Task
from zv_jax.files import write_atomic


def _own(record: Record) -> str:
    return record.id.rsplit("/", 1)[-1]


def _number(record: Record) -> int:
    try:
        return int(_own(record))
    except ValueError as error:
        raise DataError(
            f"{record.id!r} does not end in a number",
            where="id",
            expected="records of the data set itself, whose ids the server knows",
        ) from error


WRITERS: dict[str, Callable[[Record, str], dict[str, Any]]] = {
    "vqav2": lambda record, text: {"question_id": _number(record), "answer": text},
    "vizwiz": lambda record, text: {
        "image": (record.images[0].path or "").rsplit("/", 1)[-1],
        "answer": text,
    },
    "gqa": lambda record, text: {"questionId": _own(record), "prediction": text},
    "nocaps": lambda record, text: {"image_id": _number(record), "caption": text},
}


def _submitted(name: str) -> bool:
    return bool(task_lib.load(name).submission)


def write(
    task: Task,
    items: Sequence[Item],
    found: Mapping[str, Prediction],
    out: str | Path,
) -> int:
    """Writes the server's file and returns how many entries it has.

    Raises:
      ConfigError: the benchmark has no server. DataError: a record has no prediction, or an id is
        not the data set's own; nothing is written then.
    """
    if not task.submission:
        raise ConfigError(
            f"{task.name} has no server to submit to",
            where="--benchmark",
            expected="one of " + ", ".join(filter(_submitted, task_lib.names())),
            fix="zv eval score computes its number",
        )
    entry = WRITERS[task.submission]
    said = by_item(found, items)
    rows = [
        entry(item.record, task_lib.clean(prediction.text, task.clean))
        for item, prediction in zip(items, said, strict=True)
    ]
    write_atomic(Path(out), json.dumps(rows, ensure_ascii=False).encode())
    return len(rows)
