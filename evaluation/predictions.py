"""Predictions as lines of JSON: what a model writes while it answers, and what anybody may score.

{"id": "vqav2/val/262148000", "prediction": "yes"}
{"id": "262148000", "prediction": "yes"}              the data set's own id will do
{"id": "scienceqa/test/11", "choice": 1}              index of an option

Result files of COCO captions and of VQA, one JSON list, are taken as they are:

[{"image_id": 391895, "caption": "a man on a bicycle"}]
[{"question_id": 262148000, "answer": "yes"}]
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zv_jax import files, json_input
from zv_jax.data.records.record import Record
from zv_jax.errors import DataError, nearest

Row = dict[str, Any]

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "title": "One prediction",
    "type": "object",
    "required": ["id"],
    "additionalProperties": False,
    "anyOf": [{"required": ["prediction"]}, {"required": ["choice"]}],
    "properties": {
        "id": {"type": ["string", "integer"], "description": "the record's id, or its last part"},
        "prediction": {"type": "string", "description": "the answer as the model gave it"},
        "choice": {
            "type": ["integer", "null"],
            "minimum": 0,
            "description": "index of an option, counted from 0; null where none was chosen",
        },
        "permuted": {
            "type": "array",
            "items": {"type": ["integer", "null"], "minimum": 0},
            "description": "the option chosen in other orders, numbered as in the first",
        },
        "turns": {
            "type": "array",
            "items": {"type": "string"},
            "description": "of a dialogue the answers to all turns, the last being `prediction`",
        },
    },
}


# Fields of the result files of others (github.com/tylin/coco-caption, GT-Vision-Lab/VQA).
_RESULTS = (
    {"image_id": "id", "caption": "prediction"},
    {"question_id": "id", "answer": "prediction"},
)


@dataclass(frozen=True)
class Prediction:
    """What was answered: a text, an option, or both; of a dialogue also all its turns."""

    text: str = ""
    choice: int | None = None
    permuted: tuple[int | None, ...] = ()
    turns: tuple[str, ...] = ()

    @classmethod
    def of(cls, answers: Sequence[str]) -> Prediction:
        """The prediction of the answers to all turns."""
        return cls(answers[-1], turns=tuple(answers) if len(answers) > 1 else ())

    @property
    def answers(self) -> tuple[str, ...]:
        """The answers to all turns."""
        return self.turns or (self.text,)


def read(file: Path, records: Sequence[Record]) -> dict[str, Prediction]:
    """Predictions by record id; every line is checked before any is used.

    Args:
      file: lines of `SCHEMA`, in any order, or a list of such objects; also with the fields of
        COCO's and VQA's result files. records: what was to be answered.

    Raises:
      DataError: the file is missing; a line is no prediction, its id is unknown or comes twice, or
        it does not answer its record: an index that is no option, a choice where there are no
        options, no text where one is compared. It names the line and the field.
    """
    own = _own_ids(records)
    by_id = {record.id: record for record in records}
    found: dict[str, Prediction] = {}
    orders = None
    for where, row in _rows(file):
        record = by_id.get(row["id"]) or own.get(row["id"])
        if record is None or record.id in found:
            raise DataError(
                f"id {row['id']!r} {'is unknown' if record is None else 'comes twice'}",
                where=f"{where}, field id",
                expected=f"each of the {len(records)} ids of the benchmark once, such as "
                f"{records[0].id!r}",
                fix="check that the predictions are of this split",
            )
        _fits(row, record, where)
        found[record.id] = _prediction(row)
        here = len(found[record.id].permuted)
        orders = here if orders is None else orders
        if here != orders:
            raise DataError(
                f"{here} further orders of the options, and {orders} before",
                where=f"{where}, field permuted",
                expected="as many in every line, or none",
            )
    return found


def _rows(file: Path) -> Iterator[tuple[str, Row]]:
    """Where each prediction of a file is, and the prediction."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"predictions cannot be read: {error}", where=str(file)) from error
    listed = _listed(text)
    if listed is not None:
        for number, row in enumerate(listed, 1):
            where = f"{file} entry {number}"
            yield where, _checked(row, where)
        return
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            where = f"{file} line {number}"
            yield where, _parse(line, where)


def _listed(text: str) -> list[Row] | None:
    """The objects of a file that is one list of them; None for any other."""
    if not text.lstrip().startswith("["):
        return None
    try:
        found = json.loads(text, object_pairs_hook=_once)
    except (ValueError, RecursionError):
        return None
    return found if all(isinstance(row, dict) for row in found) else None


def _once(pairs: list[tuple[str, Any]]) -> Row:
    """An object; `_Twice`, a `ValueError`, where a field is repeated."""
    name = json_input.twice(name for name, _ in pairs)
    if name is not None:
        raise _Twice(name)
    return dict(pairs)


class _Twice(ValueError):
    """A field that comes twice."""


def _own_ids(records: Sequence[Record]) -> dict[str, Record]:
    """Records by the data set's own id, the last part of ours, where it is one record's only."""
    several: dict[str, list[Record]] = {}
    for record in records:
        several.setdefault(record.id.rsplit("/", 1)[-1], []).append(record)
    return {own: found[0] for own, found in several.items() if len(found) == 1}


def _fits(row: Row, record: Record, where: str) -> None:
    """Refuses an answer that is none to its record."""
    options = len(record.choices or ())
    chosen = [("choice", row.get("choice")), *(("permuted", i) for i in row.get("permuted", ()))]
    for name, index in chosen:
        if index is not None and not 0 <= index < options:
            raise DataError(
                f"{index} is none of the {options} options of {record.id}",
                where=f"{where}, field {name}",
                expected=f"an index from 0 to {options - 1}" if options else "a text: no options",
                fix="count options from 0, in the order of the data set"
                if options
                else 'give {"id": ..., "prediction": "text"}',
            )
    if "prediction" not in row and not options:
        raise DataError(
            f"no text in answer to {record.id}",
            where=f"{where}, field prediction",
            expected="the answer as the model gave it, an empty text where it gave none",
        )


def _is_index(value: Any) -> bool:
    return value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0)


_TYPES: dict[str, Callable[[Any], bool]] = {
    "id": lambda value: isinstance(value, str | int) and not isinstance(value, bool),
    "prediction": lambda value: isinstance(value, str),
    "choice": _is_index,
    "permuted": lambda value: isinstance(value, list) and all(map(_is_index, value)),
    "turns": lambda value: isinstance(value, list) and all(isinstance(v, str) for v in value),
}
_NAMES = {
    "id": "id (a text or a whole number)",
    "prediction": "text",
    "choice": "index from 0 on, or null",
    "permuted": "list of indices",
    "turns": "list of texts",
}


def _parse(line: str, where: str) -> Row:
    """A line as an object of `SCHEMA`, its id as text."""
    try:
        row = json.loads(line, object_pairs_hook=_once)
    except _Twice as error:
        raise _wrong(where, str(error), "the field comes twice") from None
    except (ValueError, RecursionError) as error:
        raise _wrong(where, "", str(error)) from error
    return _checked(row, where)


def _wrong(where: str, name: str, found: str) -> DataError:
    return DataError(
        f"not a prediction: {found}",
        where=f"{where}, field {name}" if name else where,
        expected='{"id": ..., "prediction": "text"} or {"id": ..., "choice": index}',
        fix="zv eval score --schema prints the whole schema",
    )


def _checked(row: Any, where: str) -> Row:
    """An object of `SCHEMA` or of a result file of others as one of `SCHEMA`, its id as text."""
    wrong = functools.partial(_wrong, where)
    if not isinstance(row, dict):
        raise wrong("", f"{row!r:.40} is no object")
    for fields in _RESULTS:
        if row.keys() == fields.keys():
            row = {fields[name]: value for name, value in row.items()}
    json_input.check_whole(row, where)
    for name, value in row.items():
        if name not in SCHEMA["properties"]:
            raise wrong(name, f"the field is unknown{nearest(name, SCHEMA['properties'])}")
        if not _TYPES[name](value):
            raise wrong(name, f"{value!r:.40} is no {_NAMES[name]}")
    if "id" not in row:
        raise wrong("id", "the field is missing")
    if "prediction" not in row and "choice" not in row:
        raise wrong("prediction", "neither prediction nor choice is there")
    if row.get("permuted") and row.get("choice") is None:
        raise wrong("permuted", "other orders of the options, and no choice in the first")
    return row | {"id": str(row["id"])}


def _prediction(row: Row) -> Prediction:
    return Prediction(
        row.get("prediction", ""),
        row.get("choice"),
        tuple(row.get("permuted", ())),
        tuple(row.get("turns", ())),
    )


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
            for number, line in enumerate(files.whole_lines(file, file == self.file), 1):
                row = _parse(line, f"{file} line {number}")
                found.setdefault(row["id"], _prediction(row))
        return found

    def add(self, rows: Iterable[tuple[str, Prediction]]) -> None:
        """Appends predictions and waits until they are on the disk."""
        files.append_rows(self.file, (_row(key, said) for key, said in rows))


def _row(key: str, said: Prediction) -> Mapping[str, Any]:
    row: dict[str, Any] = {"id": key, "prediction": said.text}
    if said.choice is not None:
        row["choice"] = said.choice
    if said.permuted:
        row["permuted"] = list(said.permuted)
    if said.turns:
        row["turns"] = list(said.turns)
    return row
