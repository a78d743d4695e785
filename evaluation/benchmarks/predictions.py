"""Predictions as lines of JSON: what a model writes while it answers, and what anybody may score.

{"id": "vqav2/val/262148000", "prediction": "yes"}
{"id": "262148000", "prediction": "yes"}              the data set's own id will do
{"id": "scienceqa/test/11", "choice": 1}              index of an option
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zv_jax.errors import DataError

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "One prediction",
    "type": "object",
    "required": ["id"],
    "anyOf": [{"required": ["prediction"]}, {"required": ["choice"]}],
    "properties": {
        "id": {"type": ["string", "integer"], "description": "the record's id, or its last part"},
        "prediction": {"type": "string", "description": "the answer as the model gave it"},
        "choice": {"type": ["integer", "null"], "minimum": 0, "description": "index of an option"},
        "permuted": {
            "type": "array",
            "items": {"type": ["integer", "null"]},
            "description": "the option chosen in other orders, numbered as in the first",
        },
    },
}


@dataclass(frozen=True)
class Prediction:
    """What was answered: a text, an option, or both."""

    text: str = ""
    choice: int | None = None
    permuted: tuple[int | None, ...] = ()


def read(file: Path, ids: Sequence[str]) -> dict[str, Prediction]:
    """Predictions by record id.

    Args:
      file: lines as above, in any order. ids: of the records.

    Raises:
      DataError: the file is missing, a line is no prediction, an id is unknown or comes twice.
    """
    short = _short(ids)
    found: dict[str, Prediction] = {}
    try:
        lines = file.read_text("utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"predictions cannot be read: {error}", where=str(file)) from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{file} line {number}"
        key, prediction = _parse(line, where)
        record = key if key in short.values() else short.get(key)
        if record is None or record in found:
            raise DataError(
                f"id {key!r} {'is unknown' if record is None else 'comes twice'}",
                where=where,
                expected=f"each of the {len(ids)} ids of the benchmark once, such as {ids[0]!r}",
                fix="check that the predictions are of this split",
            )
        found[record] = prediction
    return found


def _short(ids: Sequence[str]) -> dict[str, str]:
    """Own ids of the data set -> record ids, where that is one to one."""
    short: dict[str, str] = {}
    for record in ids:
        own = record.rsplit("/", 1)[-1]
        short[own if own not in short else record] = record
    return short


def _parse(line: str, where: str) -> tuple[str, Prediction]:
    try:
        row = json.loads(line)
        key, text, choice = str(row["id"]), row.get("prediction", ""), row.get("choice")
        if not isinstance(text, str) or not isinstance(choice, int | None):
            raise TypeError("prediction is no text, or choice no index")
        if "prediction" not in row and "choice" not in row:
            raise KeyError("prediction")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"not a prediction: {error}",
            where=where,
            expected='{"id": ..., "prediction": "text"} or {"id": ..., "choice": index}',
            fix="zv eval score --schema prints the whole schema",
        ) from error
    return key, Prediction(text, choice, tuple(row.get("permuted", ())))


class Log:
    """Predictions on disk while they are made: appended batch by batch, continued after a stop.

    Several processes write files of their own beside each other; all of them are read.
    """

    def __init__(self, folder: Path, name: str, recipe: str, part: str = ""):
        self._folder, self._stem = folder, f"{name}-{recipe}"
        self.file = folder / f"{self._stem}{part}.jsonl"
        folder.mkdir(parents=True, exist_ok=True)

    def done(self) -> dict[str, Prediction]:
        """All predictions of this recipe, by record id; a torn last line is cut off."""
        found: dict[str, Prediction] = {}
        for file in sorted(self._folder.glob(f"{self._stem}*.jsonl")):
            data = file.read_bytes()
            whole = data[: data.rfind(b"\n") + 1]
            if file == self.file and len(whole) < len(data):
                with file.open("r+b") as out:
                    out.truncate(len(whole))
            for number, line in enumerate(whole.decode().split("\n")[:-1], 1):
                key, prediction = _parse(line, f"{file} line {number}")
                found.setdefault(key, prediction)
        return found

    def add(self, rows: Iterable[tuple[str, Prediction]]) -> None:
        """Appends predictions and waits until they are on the disk."""
        with self.file.open("a", encoding="utf-8") as out:
            for key, said in rows:
                out.write(json.dumps(_row(key, said), ensure_ascii=False) + "\n")
            out.flush()
            os.fsync(out.fileno())


def _row(key: str, said: Prediction) -> Mapping[str, Any]:
    row: dict[str, Any] = {"id": key, "prediction": said.text}
    if said.choice is not None:
        row["choice"] = said.choice
    if said.permuted:
        row["permuted"] = list(said.permuted)
    return row
