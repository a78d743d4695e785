"""Questions from a file, and their answers in another, which grows as they come.

    {"id": "7", "prompt": "What is here?", "image": "a.png"}
    {"prompt": "图里有什么？", "images": ["b.png", "c.png"]}

`id` may be left out: then it is the number of the row, from 1. The paths of images start from the
folder of the file. A row of answers is a prediction that `zv eval score` reads, and `candidates`
where several answers or log-probabilities were asked for:

    {"id": "7", "prediction": "a dog"}
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zv_jax import files, json_input
from zv_jax.errors import ConfigError, DataError

_MARKS = "questions"  # in the settings beside a file of answers
_FIELDS = ("id", "prompt", "image", "images")


@dataclass(frozen=True)
class Asked:
    """One question.

    Attributes:
        number: its place in the file, from 0.
        mark: of its prompt and its paths as they are written: 16 hex digits.
    """

    number: int
    id: str
    prompt: str
    images: tuple[Path, ...]
    mark: str


def read(name: str) -> tuple[list[Asked], list[DataError]]:
    """The questions of a file, and what is wrong with other rows.

    Args:
        name: of a file of one JSON object a line, of a list of them (`.json`), or `-`: lines of
            standard input, whose images start from the working directory.

    Raises:
        DataError: there is no such file, or all of it cannot be read.
    """
    folder = Path() if name == "-" else Path(name).expanduser().absolute().parent
    found: dict[str, Asked] = {}
    bad: list[DataError] = []
    for number, (where, row) in enumerate(_rows(name)):
        try:
            value = json_input.parse(row, where, once=True) if isinstance(row, bytes) else row
            asked = _asked(value, number, where, folder)
            if asked.id in found:
                raise _wrong(where, f"id {asked.id!r:.80} is there twice")
            found[asked.id] = asked
        except DataError as error:
            bad.append(error)
    return list(found.values()), bad


def _rows(name: str) -> Iterator[tuple[str, Any]]:
    """The rows, as bytes or parsed, and where each is."""
    path = Path(name).expanduser()
    if name == "-":
        for number, line in enumerate(sys.stdin.buffer, 1):
            if line.strip():
                yield f"standard input:{number}", line
    elif path.suffix == ".json":
        if not path.is_file():
            raise DataError("there is no file of questions", str(path), "a .json file")
        rows = json_input.parse(path.read_bytes(), str(path), once=True)
        if not isinstance(rows, list):
            raise _wrong(str(path), "it is no list")
        yield from ((f"{path}, row {number}", row) for number, row in enumerate(rows, 1))
    else:
        for number, line in json_input.numbered(path):
            yield f"{path}:{number}", line


def _asked(row: Any, number: int, where: str, folder: Path) -> Asked:
    if not isinstance(row, dict):
        raise _wrong(where, f"{row!r:.40} is no object")
    unknown = [name for name in row if name not in _FIELDS]
    if unknown:
        raise _wrong(where, f"the field {unknown[0]!r:.40} is unknown")
    prompt, name = row.get("prompt"), row.get("id", number + 1)
    if not isinstance(prompt, str) or not prompt.strip():
        raise _wrong(where, "prompt is no text, or empty")
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise _wrong(where, f"id {name!r:.40} is no text or whole number")
    given = row.get("images", [])
    if not isinstance(given, list) or ("image" in row and "images" in row):
        raise _wrong(where, "images is no list, or beside image")
    paths = [row["image"]] if "image" in row else given
    if not all(isinstance(path, str) and path for path in paths):
        raise _wrong(where, "an image is no path")
    images = tuple(folder / Path(p).expanduser() for p in paths)
    mark = hashlib.sha256(json.dumps([prompt, *paths]).encode()).hexdigest()[:16]
    return Asked(number, str(name), prompt, images, mark)


def _wrong(where: str, found: str) -> DataError:
    return DataError(
        f"no question: {found}",
        where=where,
        expected='{"id": "7", "prompt": "What is here?", "images": ["a.png"]}; id and images may '
        "be left out",
        fix="mend the row, and run the same command again",
    )


class Answers:
    """A file of answers that a later run of the same command goes on with.

    Beside answers.jsonl, answers.jsonl.settings.json holds what the answers depend on: the settings
    and a mark of every question. New questions may join the file; one that was answered may not
    change, or its answer would be that of another question.

    Args:
        file: new, or of an earlier run.
        settings: JSON types: the model, the questions' decoding.
        questions: those to be answered.

    Raises:
        ConfigError: an earlier run had other settings.
        DataError: the file is there without its settings, a line of it is no answer, or a question
            that was answered is another one now.
    """

    def __init__(self, file: Path, settings: Mapping[str, Any], questions: Sequence[Asked]):
        self._file = file
        marks = {asked.id: asked.mark for asked in questions}
        self.done: set[str] = set()
        beside = file.with_name(f"{file.name}.settings.json")
        if file.exists():
            before = _check_settings(file, beside, json.loads(json.dumps(settings)))
            for number, line in enumerate(files.whole_lines(file, mend=True), 1):
                row = json_input.parse(line, f"{file}:{number}")
                if not isinstance(row, dict) or not isinstance(row.get("id"), str):
                    raise DataError(
                        "a line is no answer",
                        where=f"{file}:{number}",
                        expected='{"id": ..., "prediction": ...}',
                        fix="remove the line, or give another --output",
                    )
                self.done.add(row["id"])
            _check_questions(file, before, {i: m for i, m in marks.items() if i in self.done})
            marks = before | marks
        with files.writing("the answers", file, "give another --output"):
            file.parent.mkdir(parents=True, exist_ok=True)
            files.write_json(beside, {**settings, _MARKS: marks})

    def add(self, rows: list[dict[str, Any]]) -> None:
        """Appends answers and waits until they are on the disk.

        Raises:
            DataError: they cannot be written.
        """
        with files.writing("the answers", self._file, "run the same command again: it goes on"):
            files.append_rows(self._file, rows)


def _check_settings(file: Path, beside: Path, settings: Mapping[str, Any]) -> dict[str, str]:
    """The marks of the questions of an earlier run, which had these settings."""
    if not beside.is_file():
        raise DataError(
            "answers without their settings: what gave them is unknown",
            where=str(file),
            expected=f"{beside.name} beside it, as an earlier run wrote it",
            fix="give another --output, or remove the file",
        )
    before = json_input.parse(beside.read_bytes(), str(beside))
    marks = before.pop(_MARKS, None) if isinstance(before, dict) else None
    if not isinstance(marks, dict):
        raise DataError(
            "these are no settings of answers",
            where=str(beside),
            expected=f"the file as an earlier run wrote it, with {_MARKS!r}",
            fix="give another --output, or remove both files",
        )
    names = [n for n in {**before, **settings} if before.get(n) != settings.get(n)]
    if names:
        name = names[0]
        raise ConfigError(
            f"{name} was {before.get(name)!r:.200} and is {settings.get(name)!r:.200} now",
            where=str(file),
            expected="the settings of the answers that are there",
            fix="give another --output, or the same model and flags as before",
        )
    return marks


def _check_questions(file: Path, before: Mapping[str, str], now: Mapping[str, str]) -> None:
    """Refuses another question under the id of one that was answered."""
    other = next((name for name, mark in now.items() if before.get(name) != mark), None)
    if other is not None:
        raise DataError(
            f"the question {other!r:.80} is another one than that which was answered",
            where=str(file),
            expected="the questions that were answered, as they were; others may join them",
            fix="give another --output; an id in every row keeps its answer with its question",
        )
