"""A conversation as a file of JSON: its questions, its answers, the paths of its images.

    {"format": "zv_jax conversation", "version": 1,
     "turns": [{"question": "What is here?", "answer": "a dog", "images": ["a.png"]}]}

The path of an image in or below the folder of the file is relative to it, so that both can be moved
together; any other is absolute.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.errors import DataError
from zv_jax.files import write_json, writing

FORMAT, VERSION = "zv_jax conversation", 1


@dataclass(frozen=True)
class Turn:
    """A question, its answer, and the images that came with the question."""

    question: str
    answer: str
    images: tuple[Path, ...] = ()


def save(file: Path, turns: Sequence[Turn]) -> None:
    """Writes the conversation; the file appears complete or not at all.

    Raises:
        DataError: it cannot be written.
    """
    folder = file.absolute().parent
    rows = [
        {
            "question": turn.question,
            "answer": turn.answer,
            "images": [_name(path.absolute(), folder) for path in turn.images],
        }
        for turn in turns
    ]
    with writing("the conversation", file, "give another file"):
        write_json(file, {"format": FORMAT, "version": VERSION, "turns": rows})


def _name(image: Path, folder: Path) -> str:
    return str(image.relative_to(folder) if image.is_relative_to(folder) else image)


def load(file: Path) -> list[Turn]:
    """The turns of a file that `save` wrote; the images are not opened.

    Raises:
        DataError: there is no such file, or it is no conversation; it names the field.
    """
    try:
        data = file.read_bytes()
    except OSError as error:
        raise DataError(
            f"the conversation cannot be read: {error.strerror}",
            where=str(file),
            expected="a file that /save wrote",
            fix="check the path",
        ) from None
    held = json_input.parse(data, str(file), once=True)
    _check(file, "", held, {"format": str, "version": int, "turns": list})
    if held["format"] != FORMAT or held["version"] != VERSION:
        raise DataError(
            f"format {held['format']!r:.80}, version {held['version']}",
            where=f"{file}, fields format and version",
            expected=f"format {FORMAT!r}, version {VERSION}",
            fix="load a file that /save wrote; a later version needs a later zv_jax",
        )
    return [_turn(file, f"turns[{number}]", row) for number, row in enumerate(held["turns"])]


def _turn(file: Path, where: str, row: Any) -> Turn:
    _check(file, where, row, {"question": str, "answer": str, "images": list})
    for name in row["images"]:
        if not isinstance(name, str) or not name:
            raise _wrong(file, f"{where}.images", f"{name!r:.80} is no path")
    images = tuple(file.absolute().parent / name for name in row["images"])
    return Turn(row["question"], row["answer"], images)


def _check(file: Path, where: str, row: Any, fields: dict[str, type]) -> None:
    """Refuses anything but an object with these fields, each of its type."""
    if not isinstance(row, dict):
        raise _wrong(file, where, f"{row!r:.80} is no object")
    for name in row.keys() ^ fields.keys():
        found = "is missing" if name in fields else "is unknown"
        raise _wrong(file, where, f"the field {name!r:.80} {found}")
    for name, kind in fields.items():
        if type(row[name]) is not kind:
            raise _wrong(file, f"{where}.{name}".lstrip("."), f"{row[name]!r:.80} has another type")


def _wrong(file: Path, where: str, found: str) -> DataError:
    return DataError(
        f"no conversation: {found}",
        where=f"{file}, {where}" if where else str(file),
        expected='{"format": ..., "version": ..., "turns": [{"question": ..., "answer": ..., '
        '"images": [...]}]}',
        fix="load a file that /save wrote",
    )
