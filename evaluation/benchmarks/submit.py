"""Files for evaluation servers: VQAv2 and VizWiz (EvalAI), GQA, NoCaps."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from zv_jax.data.records.record import Record
from zv_jax.errors import ConfigError, DataError
from zv_jax.evaluation.benchmarks import spec
from zv_jax.evaluation.benchmarks.predictions import Prediction
from zv_jax.evaluation.benchmarks.scoring import by_record
from zv_jax.evaluation.benchmarks.spec import Benchmark
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


def write(
    benchmark: Benchmark,
    records: Sequence[Record],
    found: Mapping[str, Prediction],
    out: str | Path,
) -> int:
    """Writes the server's file and returns how many entries it has.

    Raises:
      ConfigError: the benchmark has no server. DataError: a record has no prediction, or an id is
        not the data set's own; nothing is written then.
    """
    if not benchmark.submission:
        raise ConfigError(
            f"{benchmark.name} has no server to submit to",
            where="--benchmark",
            expected="one of " + ", ".join(n for n in spec.names() if spec.load(n).submission),
            fix="zv eval score computes its number",
        )
    entry = WRITERS[benchmark.submission]
    said = by_record(found, records)
    rows = [
        entry(record, spec.clean(prediction.text, benchmark.clean))
        for record, prediction in zip(records, said, strict=True)
    ]
    write_atomic(Path(out), json.dumps(rows, ensure_ascii=False).encode())
    return len(rows)
