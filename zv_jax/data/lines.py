"""Lines of JSON in files: numbered, in UTF-8, of bounded length, with errors that name the line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zv_jax.errors import DataError

MAX_LINE = 64 * 2**20
"""Bytes of the longest line that is read: a longer one is no record but a damaged file."""


def numbered(path: str | Path) -> Iterator[tuple[int, bytes]]:
    """Yields (number from 1, bytes) of every line that is not blank; see `at`."""
    for number, _, line in at(path):
        yield number, line


def at(path: str | Path) -> Iterator[tuple[int, int, bytes]]:
    """Yields (number from 1, byte offset, bytes) of every line that is not blank.

    Memory is bounded by `MAX_LINE`.

    Raises:
      DataError: there is no such file, or a line is longer than `MAX_LINE`.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(
            "Record file not found", where=str(path), expected="a .jsonl file", fix="check the path"
        )
    with path.open("rb") as file:
        number = offset = 0
        while line := file.readline(MAX_LINE + 1):
            number += 1
            check_length(len(line), f"{path}:{number}")
            if line.strip():
                yield number, offset, line
            offset += len(line)


def check_length(size: int, where: str) -> None:
    """`DataError` for a line of more than `MAX_LINE` bytes."""
    if size > MAX_LINE:
        raise DataError(
            f"A line of more than {MAX_LINE:,} bytes",
            where=where,
            expected="one JSON object per line, pictures by reference",
            fix="write every object on a line of its own; if the file is one JSON list, read it "
            "with `zv data convert`",
        )


def parse(line: str | bytes, where: str, once: bool = False) -> Any:
    """The JSON value of a line.

    Args:
      once: a name that is in an object twice is an error; JSON takes the last one.

    Raises:
      DataError: naming `where`: the line is not UTF-8 or not JSON.
    """
    try:
        return json.loads(line, object_pairs_hook=_once(where) if once else None)
    except UnicodeDecodeError:
        raise not_utf8(line, where) from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"Not JSON: {error}",
            where=where,
            expected="one JSON object per line",
            fix="mend or remove the line",
        ) from None


def text(data: bytes, where: str) -> str:
    """A whole text, its line ends as `\\n`; `DataError` if it is not UTF-8."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise not_utf8(data, where) from None


def _once(where: str) -> Any:
    def made(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        out = dict(pairs)
        if len(out) < len(pairs):
            names = [name for name, _ in pairs]
            raise repeated(next(name for name in names if names.count(name) > 1), where)
        return out

    return made


def repeated(name: str, where: str) -> DataError:
    """The error for a name that is in a JSON object twice."""
    return DataError(
        f"{name!r} is there twice in one object",
        where=where,
        expected="a name of its own for every value",
        fix="rename one of them, or put both values in a list",
    )


def not_utf8(data: bytes, where: str) -> DataError:
    """The error for text that is not UTF-8, with the encoding it seems to be in."""
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return in_utf16(where)
    if b"\0" in data:
        return in_utf16(where, "LE" if data[1::2].count(0) >= data[::2].count(0) else "BE")
    reason = ""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        reason = f": {error}"
    return DataError(
        f"Not UTF-8{reason}",
        where=where,
        expected="text in UTF-8",
        fix=f"iconv -f {_likely(data)} -t UTF-8 FILE > NEW",
    )


def in_utf16(where: str, order: str = "") -> DataError:
    """The error for text in UTF-16, which Windows calls Unicode; `order` LE or BE if unmarked."""
    return DataError(
        "Not UTF-8: the text is in UTF-16",
        where=where,
        expected="text in UTF-8",
        fix=f"iconv -f UTF-16{order} -t UTF-8 FILE > NEW",
    )


def _likely(data: bytes) -> str:
    """The encoding of Chinese text on Windows if it fits, else that of Western text."""
    try:
        data.decode("gb18030")
        return "GB18030"
    except UnicodeDecodeError:
        return "WINDOWS-1252"
