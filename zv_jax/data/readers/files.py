"""Annotation files as streams of `Row`s, which say where they stand when something is missing."""

from __future__ import annotations

import csv
import json
import pickle
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import ijson

from zv_jax.data import lines as lines_lib
from zv_jax.errors import DataError

csv.field_size_limit(min(sys.maxsize, lines_lib.MAX_LINE))


class Row(dict):
    """An annotation; a missing field is a `DataError` with its place.

    `where` is its file and place, `number` counts the annotations of the file from 0.
    """

    __slots__ = ("number", "where")

    def __init__(self, values: Any, where: str, number: int = 0):
        super().__init__(values)
        self.where, self.number = where, number

    def __missing__(self, key: str) -> Any:
        have = ", ".join(map(str, list(self)[:20]))
        raise not_as_published(self.where, f"field {key!r} is missing; it has {have or 'none'}")


def rows_of(value: Any, where: str, number: int = 0) -> Any:
    """`value` with every JSON object in it as a `Row`."""
    if isinstance(value, dict):
        return Row({k: rows_of(v, where, number) for k, v in value.items()}, where, number)
    if isinstance(value, list):
        return [rows_of(v, where, number) for v in value]
    return value


def not_as_published(where: str, what: str) -> DataError:
    """The error for an annotation of another layout."""
    return DataError(
        f"Not the published layout: {what}",
        where=where,
        expected="the files as distributed by the authors of the data set",
        fix="compare the file with its card: zv data list NAME",
    )


class MissingFile(DataError):
    """An annotation file is not where it should be."""


def find(root: Path, *names: str) -> Path:
    """The first of `names` that exists below `root`; `*` may stand for a part of a name.

    Raises:
      MissingFile: none exists.
    """
    for name in names:
        found = sorted(root.glob(name)) if "*" in name else [root / name]
        for path in found:
            if path.exists():
                return path
    raise MissingFile(
        f"annotation file not found: {names[0]}",
        where=str(root),
        expected="one of " + ", ".join(names),
        fix="set --root to the folder that holds it; zv data list NAME says how to obtain it",
    )


def find_all(root: Path, *patterns: str) -> list[Path]:
    """All files that match the first pattern that matches any, in order of their names."""
    for pattern in patterns:
        found = sorted(path for path in root.glob(pattern) if path.is_file())
        if found:
            return found
    find(root, *patterns)
    return []


def json_items(path: Path, prefix: str = "item") -> Iterator[Row]:
    """Streams the objects of a list in a JSON file: `item`, or `data.item` for `{"data": [...]}`.

    Memory is that of one object, whatever the size of the file.
    """
    for number, value in enumerate(_stream(path, ijson.items, prefix)):
        where = f"{path} item {number}"
        row = rows_of(value, where, number)
        if not isinstance(row, Row):
            raise not_as_published(where, f"{json.dumps(value)[:60]} is no object")
        yield row


def json_entries(path: Path, prefix: str = "") -> Iterator[tuple[str, Row]]:
    """Streams the (key, object) pairs of an object in a JSON file."""
    for number, (key, value) in enumerate(_stream(path, ijson.kvitems, prefix)):
        row = rows_of(value, f"{path} key {key!r}", number)
        if not isinstance(row, Row):
            raise not_as_published(f"{path} key {key!r}", "its value is no object")
        yield key, row


def _stream(path: Path, events: Any, prefix: str) -> Iterator[Any]:
    found = False
    try:
        with path.open("rb") as file:
            for value in events(file, prefix, use_float=True):
                found = True
                yield value
    except (ijson.JSONError, UnicodeDecodeError) as error:
        raise DataError(
            f"Not JSON, or cut short: {error}".splitlines()[0],
            where=str(path),
            expected="a complete JSON file in UTF-8",
            fix="download the file again",
        ) from None
    if not found:
        raise not_as_published(str(path), f"nothing at {prefix or 'the top level'!r}")


def json_file(path: Path) -> Row:
    """A small JSON file that holds one object."""
    value = rows_of(lines_lib.parse(path.read_bytes(), str(path)), str(path))
    if not isinstance(value, Row):
        raise not_as_published(str(path), "it is no JSON object")
    return value


def json_lines(path: Path) -> Iterator[Row]:
    """One object per line."""
    for _, row in json_lines_at(path):
        yield row


def json_lines_at(path: Path) -> Iterator[tuple[int, Row]]:
    """One object per line, with the byte offset of the line."""
    count = 0
    for number, offset, line in lines_lib.at(path):
        where = f"{path}:{number}"
        row = rows_of(lines_lib.parse(line, where), where, count)
        if not isinstance(row, Row):
            raise not_as_published(where, "the line is no JSON object")
        yield offset, row
        count += 1


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """("file:line", text without its line end) of every line that is not blank."""
    for number, line in lines_lib.numbered(path):
        where = f"{path}:{number}"
        try:
            yield where, line.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError as error:
            raise DataError(
                f"Not UTF-8: {error}",
                where=where,
                expected="text in UTF-8",
                fix="iconv -f GB18030 -t UTF-8 FILE > NEW",
            ) from None


def table(path: Path, delimiter: str, header: Sequence[str] | None = None) -> Iterator[Row]:
    """Rows of a CSV or TSV file; the first line names the columns unless `header` does."""
    quoting = csv.QUOTE_NONE if delimiter == "\t" else csv.QUOTE_MINIMAL
    texts = (line + "\n" for _, line in text_lines(path))
    reader = csv.reader(texts, delimiter=delimiter, quoting=quoting)
    names = list(header) if header else None
    count = 0
    for values in reader:
        where = f"{path} row {reader.line_num}"
        if names is None:
            names = [value.strip() for value in values]
            continue
        if len(values) != len(names):
            raise not_as_published(
                where, f"{len(values)} columns instead of {len(names)} ({', '.join(names)})"
            )
        yield Row(zip(names, values, strict=True), where, count)
        count += 1


class _Plain(pickle.Unpickler):
    """Unpickles strings, numbers, lists and dicts only: a pickle can run any program otherwise."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def pickled_list(path: Path) -> Iterator[Row]:
    """Rows of a pickled list of plain objects, as the RefCOCO files are.

    Raises:
      DataError: it is no such pickle, or holds anything but plain values; nothing in it is run.
    """
    try:
        with path.open("rb") as file:
            values = _Plain(file, encoding="utf-8").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise not_as_published(str(path), f"no pickle of plain values ({error})") from None
    if not isinstance(values, list):
        raise not_as_published(str(path), "the pickle holds no list")
    for number, value in enumerate(values):
        yield rows_of(value, f"{path} item {number}", number)
