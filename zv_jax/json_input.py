"""JSON that others wrote: in UTF-8, of bounded length and depth, with errors that name the line."""

from __future__ import annotations

import codecs
import json
import math
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from zv_jax.errors import DataError

MAX_LINE = 64 * 2**20
"""Bytes of the longest line that is read: a longer one is no record but a damaged file."""
MAX_DEPTH = 100
"""Levels of lists and objects within each other; no annotation has a tenth of it."""


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


def parse(data: str | bytes, where: str, once: bool = False, strict: bool = True) -> Any:
    """The JSON value of a line, or of a small file.

    Args:
      once: a name that is in an object twice is an error; JSON takes the last one.
      strict: so are NaN and Infinity, which are no JSON, and halves of surrogate pairs, which no
        file can hold (`"\\ud800"`). False where the caller checks every field and can name it.

    Raises:
      DataError: naming `where`: it is not UTF-8, not JSON, or nested deeper than `MAX_DEPTH`.
    """
    try:
        text = data if isinstance(data, str) else data.decode().removeprefix("\ufeff")
        value = _DECODERS[once, strict].decode(text)
    except UnicodeDecodeError:
        raise not_utf8(data, where) from None
    except Twice as error:
        raise repeated(error.name, where) from None
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"Not JSON: {_reason(error)}",
            where=where,
            expected="one JSON object per line",
            fix="mend or remove the line",
        ) from None
    if text.count("[") + text.count("{") > MAX_DEPTH:
        check_nesting(value, where)
    if strict and _ESCAPED_HALF.search(text):
        check_whole(value, where)
    return value


def _reason(error: Exception) -> str:
    return "it is nested too deeply" if isinstance(error, RecursionError) else str(error)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number of JSON")


class Twice(ValueError):
    """A name is there twice in one object."""

    def __init__(self, name: str):
        super().__init__(name)
        self.name = name


def named_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of a decoder's `object_pairs_hook`; `Twice` where JSON takes the last value."""
    out = dict(pairs)
    if len(out) < len(pairs):
        raise Twice(str(twice(name for name, _ in pairs)))
    return out


_DECODERS = {
    (each_once, strict): json.JSONDecoder(
        object_pairs_hook=named_once if each_once else None,
        parse_constant=_no_number if strict else None,
    )
    for each_once in (False, True)
    for strict in (False, True)
}
_ESCAPED_HALF = re.compile(r"\\u[dD][89a-fA-F]")  # of a pair too: a fast look before a careful one


def finite(value: object) -> float | None:
    """`value` as a finite float, or `None`: for text, booleans, NaN, and whole numbers of hundreds
    of digits."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def check_nesting(value: Any, where: str, most: int | None = None) -> None:
    """`DataError` for lists and objects nested deeper than `MAX_DEPTH`, or of more than `most`
    values or 100 times as many characters, those that are there several times counted each time."""
    waiting, seen, letters = [(value, 1)], 0, 0
    while waiting:
        held, depth = waiting.pop()
        if isinstance(held, dict):
            held = held.values()
        elif not isinstance(held, list | tuple):
            continue
        seen += len(held)
        if most is not None:
            letters += sum(len(item) for item in held if isinstance(item, str))
        if depth > MAX_DEPTH or (most is not None and max(seen, letters / 100) > most):
            raise too_deep(where)
        waiting += [(item, depth + 1) for item in held if isinstance(item, list | tuple | dict)]


def too_deep(where: str) -> DataError:
    """The error for lists and objects within each other without end."""
    return DataError(
        f"Lists and objects are nested more than {MAX_DEPTH} deep, or share themselves",
        where=where,
        expected="annotations, which are a few levels deep",
        fix="write the file again, or remove what is nested so",
    )


def check_whole(value: Any, where: str) -> None:
    """`DataError` for half a surrogate pair anywhere in a value of JSON."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError as error:
        half = ascii(error.object[max(0, error.start - 20) : error.end])
        raise DataError(
            f"Half a character: one half of a surrogate pair stands alone in ...{half}",
            where=where,
            expected="characters, not halves of a surrogate pair",
            fix="remove it; a text was cut in the middle of a character",
        ) from None


def text(data: bytes, where: str) -> str:
    """A whole text, its line ends as `\\n`; `DataError` if it is not UTF-8."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError:
        raise not_utf8(data, where) from None


def twice(names: Iterable[str]) -> str | None:
    """The first name that comes a second time; None if each comes once."""
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None


def repeated(name: str, where: str) -> DataError:
    """The error for a name that is in a JSON object twice."""
    return DataError(
        f"{name!r} is there twice in one object",
        where=where,
        expected="a name of its own for every value",
        fix="rename one of them, or put both values in a list",
    )


def not_utf8(data: bytes, where: str) -> DataError:
    """The error for what is no UTF-8: another kind of file, or text in another encoding.

    `data` is a line, a block or a field; what it is told by is at its beginning.
    """
    for mark, (kind, mend) in _NO_TEXT.items():
        if data.startswith(mark):
            return DataError(
                f"No text but {kind}",
                where=where,
                expected="text in UTF-8",
                fix=mend,
            )
    if 5 * data.count(0) > 3 * len(data) or data[:4] == codecs.BOM_UTF32_BE:
        return in_utf16(where, bits=32)
    if data[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return in_utf16(where)
    reason = ""
    try:
        data.decode()
    except UnicodeDecodeError as error:
        reason = f": {error}"
    if b"\0" in data:
        if not reason and 8 * data.count(0) < len(data):
            return DataError(
                "A byte 0 in a text",
                where=where,
                expected="text in UTF-8",
                fix="tr -d '\\000' < FILE > NEW",
            )
        return in_utf16(where, "LE" if data[1::2].count(0) >= data[::2].count(0) else "BE")
    encoding, other = _likely(data)
    return DataError(
        f"Not UTF-8{reason}",
        where=where,
        expected="text in UTF-8",
        fix=f"iconv -f {encoding} -t UTF-8 FILE > NEW"
        + (f"; if NEW makes no sense, it is in {other}" if other else ""),
    )


def in_utf16(where: str, order: str = "", bits: int = 16) -> DataError:
    """The error for text in UTF-16, which Windows calls Unicode, or in UTF-32; `order` LE or BE if
    unmarked."""
    return DataError(
        f"Not UTF-8: the text is in UTF-{bits}",
        where=where,
        expected="text in UTF-8",
        fix=f"iconv -f UTF-{bits}{order} -t UTF-8 FILE > NEW",
    )


_NO_TEXT = {
    b"\x1f\x8b": ("a file packed by gzip", "gunzip FILE"),
    b"BZh": ("a file packed by bzip2", "bunzip2 FILE"),
    b"\xfd7zXZ": ("a file packed by xz", "unxz FILE"),
    b"\x28\xb5\x2f\xfd": ("a file packed by Zstandard", "unzstd FILE"),
    b"PK\x03\x04": (
        "a ZIP archive, as an Excel workbook (.xlsx) is one too",
        "save the sheet as CSV in UTF-8, or unpack the archive",
    ),
    b"\xd0\xcf\x11\xe0": ("an Excel workbook (.xls)", "save the sheet as CSV in UTF-8"),
    b"PAR1": ("a Parquet file", "zv data convert parquet --root=FILE"),
    b"ARROW1": ("an Arrow file", "zv data convert hf_disk --root=FOLDER"),
}
"""How files begin that are no text: what they are, and what to do with them."""


_IN_A_ROW = re.compile(rb"[\x80-\xff]{2}")


def _likely(data: bytes) -> tuple[str, str]:
    """The encoding of Chinese text on Windows that fits, and the other one to try; else that of
    Western text.

    Half a character at the end is none: a block may end within one, and é at the end of a line
    begins one.
    """
    if not _IN_A_ROW.search(data):  # é is followed by a plain letter or blank
        return "WINDOWS-1252", ""
    simplified, traditional = (_chinese(data, name) for name in ("gb18030", "cp950"))
    if not simplified and not traditional:
        return "WINDOWS-1252", ""
    return ("BIG5", "GB18030") if traditional > simplified else ("GB18030", "BIG5")


def _chinese(data: bytes, encoding: str) -> float:
    """How common in Chinese the characters beyond ASCII are if `data` is in `encoding`, 0 to 1.

    Both encodings decode nearly all texts of each other, and put the common characters first.
    """
    try:
        text = codecs.getincrementaldecoder(encoding)().decode(data)
    except UnicodeDecodeError:
        return 0.0
    found = [c.encode(encoding) for c in text if c >= "\u2e80"]
    usual, second = _USUAL[encoding]
    weights = [1 if c[0] in usual and c[1] >= second else 0.4 for c in found]
    return sum(weights) / max(1, len(weights))


_USUAL = {
    "gb18030": ({0xA1, 0xA3, *range(0xB0, 0xD8)}, 0xA1),
    "cp950": ({0xA1, *range(0xA4, 0xC7)}, 0x40),
}
"""What usual characters and marks begin with, and the least of their second bytes."""
