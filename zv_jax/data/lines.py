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


def parse(line: str | bytes, where: str) -> Any:
    """The JSON value of a line.

    Raises:
      DataError: naming `where`: the line is not UTF-8 or not JSON.
    """
    try:
        return json.loads(line)
    except UnicodeDecodeError as error:
        raise DataError(
            f"Not UTF-8: {error}",
            where=where,
            expected="text in UTF-8",
            fix=f"iconv -f {_likely(line)} -t UTF-8 FILE > NEW",
        ) from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"Not JSON: {error}",
            where=where,
            expected="one JSON object per line",
            fix="mend or remove the line",
        ) from None


def _likely(line: str | bytes) -> str:
    """The encoding of Chinese text on Windows if it fits, else that of Western text."""
    try:
        line.decode("gb18030")  # type: ignore[union-attr]
        return "GB18030"
    except UnicodeDecodeError:
        return "WINDOWS-1252"
