"""Annotation files as streams of `Row`s, which say where they stand when something is missing."""

from __future__ import annotations

import codecs
import csv
import itertools
import json
import os
import pickle
import pickletools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO, TextIO

import ijson
import numpy as np

from zv_jax import json_input
from zv_jax.errors import DataError

csv.field_size_limit(min(sys.maxsize, json_input.MAX_LINE))


_KINDS = {str: "a text", int: "a whole number", list: "a list", dict: "an object"}


class Row(dict):
    """An annotation; a missing field is a `DataError` with its place.

    `where` is its file and place, `number` counts the annotations of the file from 0.
    """

    __slots__ = ("number", "where")

    def __init__(self, values: Any, where: str, number: int = 0):
        super().__init__(values)
        self.where, self.number = where, number

    def of(self, key: str, *kinds: type) -> Any:
        """Field `key`, which is of one of `kinds`; a `DataError` with its place otherwise."""
        value = self[key]
        if isinstance(value, kinds) and not isinstance(value, bool):
            return value
        wanted = " or ".join(_KINDS[kind] for kind in kinds)
        raise not_as_published(self.where, f"field {key!r} is not {wanted}")

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


def find(root: Path, *names: str, folder: bool = False) -> Path:
    """The first of `names` that exists below `root`; `*` may stand for a part of a name.

    Args:
      folder: it may be a folder too.

    Raises:
      MissingFile: none exists. DataError: it is no file.
    """
    for name in names:
        found = sorted(root.glob(name)) if "*" in name else [root / name]
        for path in found:
            if os.path.exists(path):  # False too for a name that no file can have
                return path if folder and path.is_dir() else _regular(path)
    raise MissingFile(
        f"annotation file not found: {names[0]}",
        where=str(root),
        expected="one of " + ", ".join(names),
        fix="set --root to the folder that holds it; zv data list NAME says how to obtain it",
    )


def _regular(path: Path) -> Path:
    """`path`, if it is a regular file: to open a pipe would wait for ever."""
    if path.is_file():
        return path
    raise DataError(
        "no regular file but a folder, a pipe or a device",
        where=str(path),
        expected="a file",
        fix="save the contents as a file of this name",
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
    for number, value in enumerate(stream(path, ijson.items, prefix)):
        where = f"{path} item {number}"
        row = rows_of(value, where, number)
        if not isinstance(row, Row):
            raise not_as_published(where, f"{json.dumps(value)[:60]} is no object")
        yield row


def json_entries(path: Path, prefix: str = "") -> Iterator[tuple[str, Row]]:
    """Streams the (key, object) pairs of an object in a JSON file."""
    for number, (key, value) in enumerate(stream(path, ijson.kvitems, prefix)):
        row = rows_of(value, f"{path} key {key!r}", number)
        if not isinstance(row, Row):
            raise not_as_published(f"{path} key {key!r}", "its value is no object")
        yield key, row


def stream(path: Path, events: Any, prefix: str, **options: Any) -> Iterator[Any]:
    """What `events` of ijson finds at `prefix` of a JSON file; `options` are ijson's."""
    found = False
    try:
        with path.open("rb") as file:
            skip_mark(file, str(path))
            for value in events(Shallow(file, str(path)), prefix, use_float=True, **options):
                found = True
                yield value
    except (ijson.JSONError, UnicodeDecodeError) as error:
        _check_encoding(path)  # the likelier reason
        raise DataError(
            f"Not JSON, or cut short: {error}".splitlines()[0],
            where=str(path),
            expected="a complete JSON file in UTF-8",
            fix="mend the file: python3 -m json.tool FILE > /dev/null names line and column",
        ) from None
    if not found:
        raise not_as_published(str(path), f"nothing at {prefix or 'the top level'!r}")


class Shallow:
    """A JSON file for ijson, which keeps the path of every level: memory grows with its square.

    `depth` is that of lists and objects after what was read so far.

    Raises:
      DataError: lists and objects are nested deeper than `lines.MAX_DEPTH`.
    """

    def __init__(self, file: BinaryIO, where: str):
        self._file, self._where = file, where
        self.depth, self._in_text, self._rest = 0, 0, b""

    def read(self, size: int = -1) -> bytes:
        data = self._file.read(size)
        if data:
            self._follow(data)
        return data

    def _follow(self, data: bytes) -> None:
        """Counts brackets outside texts, with operations on whole blocks only."""
        if self._rest or b"\\" in data:
            data = (self._rest + data).replace(b"\\\\", b"")
            # A backslash at the end belongs to what follows.
            self._rest = data[-1:] if data.endswith(b"\\") else b""
            data = data.replace(b'\\"', b"")
        folded = np.frombuffer(data, np.uint8) | 32  # which makes "[" and "{" one, "]" and "}" too
        quotes = folded == 34  # and takes the byte 2 for a quote, which no text may hold
        at = np.flatnonzero((folded == 123) | (folded == 125) | quotes)
        marks = folded[at]
        outside = (np.cumsum(marks == 34) + self._in_text) % 2 == 0
        depths = self.depth + np.cumsum(np.where(outside, _STEPS[marks], 0))
        if len(depths):
            if depths.max() > json_input.MAX_DEPTH:
                raise json_input.too_deep(self._where)
            self.depth, self._in_text = int(depths[-1]), int(not outside[-1])


_STEPS = np.zeros(256, np.int64)
_STEPS[123], _STEPS[125] = 1, -1


def _check_encoding(path: Path) -> None:
    """Refuses a file that is not in UTF-8, whatever its lines."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    with path.open("rb") as file:
        while block := file.read(2**20):
            try:
                decoder.decode(block)
            except UnicodeDecodeError:
                raise json_input.not_utf8(block, str(path)) from None


def skip_mark(file: BinaryIO, where: str) -> None:
    """Moves past the byte order mark that Windows puts before text in UTF-8.

    Raises:
      DataError: the mark says that the text is in UTF-16.
    """
    head = file.read(4)
    if len(head) == 4 and head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        raise json_input.in_utf16(where, bits=32)
    if head[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise json_input.in_utf16(where)
    file.seek(3 if head[:3] == codecs.BOM_UTF8 else 0)


def json_file(path: Path) -> Row:
    """A small JSON file that holds one object."""
    value = rows_of(json_input.parse(path.read_bytes(), str(path)), str(path))
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
    for number, offset, line in json_input.at(path):
        where = f"{path}:{number}"
        row = rows_of(json_input.parse(line, where), where, count)
        if not isinstance(row, Row):
            raise not_as_published(where, "the line is no JSON object")
        yield offset, row
        count += 1


def text_lines(path: Path) -> Iterator[tuple[str, str]]:
    """("file:line", text without its line end) of every line that is not blank."""
    for number, line in json_input.numbered(path):
        where = f"{path}:{number}"
        try:
            yield where, line.decode("utf-8-sig").rstrip("\r\n")
        except UnicodeDecodeError:
            raise json_input.not_utf8(line, where) from None


def table(
    path: Path,
    delimiter: str | None = None,
    header: Sequence[str] | None = None,
    quoted: bool = True,
) -> Iterator[Row]:
    """Rows of a CSV or TSV file as spreadsheets and pandas write them, in UTF-8 or UTF-16.

    Args:
      delimiter: what separates fields; None: a tab in a .tsv, else what the header shows.
      header: names of the columns; None: the first line has them, and quotes must be right.
      quoted: fields may be quoted; a published list of plain lines is not.

    Raises:
      DataError: it names the line: a row has more or fewer fields than the header, a quote is not
        closed, a column is named twice, or the text is not in UTF-8.
    """
    delimiter = delimiter or _delimiter(path)
    names = list(header) if header else None
    start = count = 0
    for start, values in _fields(path, delimiter, quoted, strict=header is None):
        where = f"{path}:{start}"
        if names is None:
            if values[0].lower().startswith("sep="):
                continue  # how a spreadsheet is told the separator
            names = _names(values, where)
            continue
        if len(values) > len(names) and not any(v.strip() for v in values[len(names) :]):
            values = values[: len(names)]
        if len(values) != len(names):
            raise DataError(
                f"{len(values)} columns instead of {len(names)} ({', '.join(names)})",
                where=where,
                expected=f"{len(names)} fields with {delimiter!r} between them",
                fix=f'put a field that holds {delimiter!r} in quotes: "one{delimiter}two"',
            )
        yield Row(zip(names, values, strict=True), where, count)
        count += 1


def _fields(
    path: Path, delimiter: str, quoted: bool, strict: bool
) -> Iterator[tuple[int, list[str]]]:
    """(line the row starts on, its fields) of every row that is not blank."""
    quoting = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    with path.open(encoding=_encoding(path), errors="surrogateescape", newline="") as file:
        reader = csv.reader(
            _lines(file, path),
            delimiter=delimiter,
            quoting=quoting,
            strict=strict,
            skipinitialspace=quoted,  # a quote after a blank opens a field all the same
        )
        while True:
            start = reader.line_num + 1
            try:
                values = next(reader, None)
            except csv.Error as error:
                raise DataError(
                    f"A quoted field that does not end where it should ({error})",
                    where=f"{path}:{start}",
                    expected='quotes around a whole field, those within doubled: "a ""red"" one"',
                    fix="mend the quotes of this row; where no field is meant to be quoted: "
                    f"pandas.read_csv(FILE, sep={delimiter!r}, quoting=3).to_csv(NEW, "
                    f"sep={delimiter!r}, index=False)",
                ) from None
            except UnicodeError as error:
                raise DataError(
                    f"Not UTF-16, though its mark says so: {error}",
                    where=f"{path}:{start}",
                    expected="text in UTF-8 or UTF-16",
                    fix="write or download the file again",
                ) from None
            if values is None:
                return
            if not any(values):
                continue
            _check_text("\n".join(values), f"{path}:{start}")
            if delimiter == "\t" and any("\t" in v and "\n" in v for v in values):
                raise DataError(
                    "A quoted field with both tabs and line breaks: rows run into each other",
                    where=f"{path}:{start}",
                    expected='quotes around a whole field, those within doubled: "a ""red"" one"',
                    fix="mend the quotes of this row",
                )
            yield start, values


def _lines(file: TextIO, path: Path) -> Iterator[str]:
    """Lines of bounded length: a file without line ends would be one of its whole size."""
    for number in itertools.count(1):
        line = file.readline(json_input.MAX_LINE + 1)
        if not line:
            return
        json_input.check_length(len(line), f"{path}:{number}")
        yield line


def _encoding(path: Path) -> str:
    with path.open("rb") as file:
        head = file.read(4)
    if head in (codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE):
        raise json_input.in_utf16(str(path), bits=32)
    return "utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"


def _check_text(text: str, where: str) -> None:
    if "\0" in text or not _is_text(text):
        raise json_input.not_utf8(text.encode(errors="surrogateescape"), where)


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # bytes that are not UTF-8 were let through as half characters
        return False
    return True


def _delimiter(path: Path) -> str:
    usual = "\t" if path.suffix == ".tsv" else ","
    with path.open(encoding=_encoding(path), errors="replace", newline="") as file:
        for line in _lines(file, path):
            if line.lower().startswith("sep=") and len(line.strip("\r\n")) == 5:
                return line[4]
            if line.strip():
                counts = {d: _columns(line, d) for d in (usual, *"\t;|,")}
                return usual if counts[usual] > 1 else max(counts, key=counts.__getitem__)
    return usual


def _columns(line: str, delimiter: str) -> int:
    try:
        return len(next(csv.reader([line], delimiter=delimiter)))
    except csv.Error:  # reading the rows says what is wrong
        return 0


def _names(values: list[str], where: str) -> list[str]:
    names = [value.strip() or f"column {number}" for number, value in enumerate(values, 1)]
    check_names(names, where)
    return names


def check_names(names: Sequence[str], where: str) -> None:
    """`DataError` for two columns of one name."""
    name = json_input.twice(names)
    if name is not None:
        first = names.index(name) + 1
        raise twice(name, where, f"columns {first} and {names.index(name, first) + 1}")


def twice(name: str, where: str, places: str = "") -> DataError:
    """The error for a column or field that is there twice."""
    return DataError(
        f"Column {name!r} is there twice" + (f": {places}" if places else ""),
        where=where,
        expected="a name of its own for every column",
        fix=f"rename one to {name}_2; if both are to be learned, name both: "
        f"--columns={name}={name},{name}={name}_2",
    )


class _Plain(pickle.Unpickler):
    """Unpickles strings, numbers, lists and dicts only: a pickle can run any program otherwise."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it names {module}.{name}")


def _check_memo(file: BinaryIO, size: int) -> None:
    """Refuses a place in the list of shared values beyond the bytes of the file, as the list is
    made as long as its last place says; `file` is where it was afterwards."""
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name in _PUTS and argument > size:
            raise pickle.UnpicklingError(f"it has a value number {argument}")
    file.seek(0)


_PUTS = {"PUT", "BINPUT", "LONG_BINPUT"}


def pickled_list(path: Path) -> Iterator[Row]:
    """Rows of a pickled list of plain objects, as the RefCOCO files are.

    Raises:
      DataError: it is no such pickle, or holds anything but plain values; nothing in it is run.
    """
    try:
        with path.open("rb") as file:
            _check_memo(file, path.stat().st_size)
            values = _Plain(file, encoding="utf-8").load()
    except Exception as error:  # a damaged pickle raises nearly anything
        raise not_as_published(str(path), f"no pickle of plain values ({error})") from None
    if not isinstance(values, list):
        raise not_as_published(str(path), "the pickle holds no list")
    # Every value takes a byte at least, unless lists hold each other many times over.
    json_input.check_nesting(values, str(path), most=path.stat().st_size)
    for number, value in enumerate(values):
        yield rows_of(value, f"{path} item {number}", number)
