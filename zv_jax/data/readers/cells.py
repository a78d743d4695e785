"""What a cell of an own table holds: texts or images, of any type that tables have.

A value of a type or shape that is not understood is an error that names its column. What Python
would print for it never becomes text.
"""

from __future__ import annotations

import ast
import datetime
import decimal
import json
import math
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from zv_jax.data.readers.intake import BadRow
from zv_jax.data.records import rules
from zv_jax.data.records.record import ImageRef
from zv_jax.errors import DataError

Place = tuple[str | int, ...]
"""Where a value stands in a row: ("messages", 0, "content")."""

# As pandas, Python, R, databases and spreadsheets write a missing value.
_NULLS = ("nan", "NaN", "NaT", "<NA>", "None", "NULL", "null", "NA", "N/A", "n/a", "#N/A", "\\N")
_TEXT_KEYS = ("answer", "text", "caption", "value", "raw", "sentence", "content", "raw_answer")
_IMAGE_KEYS = ("bytes", "image", "path", "url", "image_url", "image_path", "file_name", "source")
_BASE64 = ("/9j/", "iVBORw0KGgo", "R0lGOD", "UklGR", "Qk0", "SUkq", "TU0A")  # of image files
# ['a' 'b'] and array(['a'], dtype=object): Python would join the neighbours.
_PRINTED = re.compile(r"""\[?array\(\[|\[\s*(?:'[^']*'|"[^"]*")\s+['"]""")
_SUFFIXES = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?)$", re.IGNORECASE)
_SEVERAL = re.compile(r"\.(jpe?g|png|webp|gif|bmp|tiff?)\s*[,;|\s]\s*\S", re.IGNORECASE)


@dataclass(frozen=True)
class Entry:
    """A row of an own table, whatever the file.

    Attributes:
      fields: column -> value; file: its name in the report; where: file and line or row.
      native: its identity where no column holds one.
      images: its images where no column holds them.
      inside: the address of an image that is written into the row; None: it cannot be addressed.
      typed: False where every cell is text, as in CSV.
      identity: what names the record: a column of ids where there is one, its place, or both.
    """

    fields: Mapping[str, Any]
    file: str
    where: str
    native: object
    images: tuple[ImageRef, ...] | None = None
    inside: Callable[[Place], str] | None = None
    typed: bool = True
    identity: Literal["column", "place", "both"] = "column"


def missing(value: Any, typed: bool = True) -> bool:
    """True for what stands for no value: null, NaN, blank text, an empty list or object."""
    if value is None or value is True or value is False:
        return value is None
    if isinstance(value, str):
        return rules.blank(value) or (not typed and value.strip() in _NULLS)
    if isinstance(value, float):
        return math.isnan(value)
    if isinstance(value, decimal.Decimal):
        return value.is_nan()
    if isinstance(value, Mapping):
        return all(missing(v) for v in value.values())
    return isinstance(value, list | tuple | bytes) and not value


def unknown(entry: Entry, path: Place, value: Any, expected: str) -> DataError:
    """The error for a value of a type or shape that is not understood."""
    column = str(path[0])
    return DataError(
        f"Column {column!r}: {described(value)} at {name(path)} is not understood",
        where=entry.where,
        expected=expected,
        fix="write it so, or leave the column out: " + flag(f"--ignore={column}"),
    )


def flag(text: str) -> str:
    """A flag as it is typed: in quotes where the shell needs them, as for a blank in a name."""
    return shlex.quote(text) if _FOR_THE_SHELL.search(text) else text


_FOR_THE_SHELL = re.compile(r"[\s\"'`$&|;<>()\[\]{}*?!#~\\]")


def described(value: Any) -> str:
    """A value as a message shows it."""
    if isinstance(value, Mapping):
        return f"an object with {', '.join(map(str, value)) or 'nothing'}"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    text = json.dumps(value, ensure_ascii=False, default=lambda v: type(v).__name__)
    return text if len(text) <= 60 else text[:57] + "..."


def name(path: Place) -> str:
    """`messages[0].content`."""
    parts = (f"[{p}]" if isinstance(p, int) else f".{p}" for p in path)
    return "".join(parts).removeprefix(".")


def text(entry: Entry, path: Place, value: Any) -> str | None:
    """A single value as text, without blanks around it; None where there is none.

    Line breaks within stay. Numbers are written as JSON does, so are true and false.
    """
    if missing(value, entry.typed):
        return None
    if isinstance(value, str):
        _check_print(entry, path, value)
        return value.replace("\r\n", "\n").replace("\r", "\n").strip()
    if isinstance(value, bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return json.dumps(value)
    if isinstance(value, decimal.Decimal) and value.is_finite():
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, list) and len(value) == 1:
        return text(entry, (*path, 0), value[0])
    raise unknown(entry, path, value, "one text or number")


def _check_print(entry: Entry, path: Place, value: Any) -> None:
    if isinstance(value, str) and _PRINTED.match(value.strip()):
        raise DataError(
            f"Column {path[0]!r} holds what NumPy printed: {described(value)}",
            where=entry.where,
            expected='a list with commas, such as ["red", "dark red"]',
            fix="write the table again, with lists of Python in its cells: "
            "df[column].map(list).map(json.dumps)",
        )


@dataclass(frozen=True)
class Said:
    """One of the texts of a cell, and what an object around it says beside it."""

    text: str
    confidence: Any = None


def texts(
    entry: Entry, path: Place, value: Any, left_out: Callable[[str], None], unused: Any = None
) -> list[Said]:
    """All texts of a cell: one, a list, objects such as VQAv2's, or one object with lists.

    Args:
      left_out: called with a reason for every part without a text.
      unused: called with the name of every other part of an object.
    """
    value = listed(value, entry)
    if isinstance(value, Mapping):
        if any(isinstance(v, list) for v in value.values()):
            value = _transposed(entry, path, value)
        else:
            value = [value]
    if not isinstance(value, list):
        value = [value]
    out = []
    for number, item in enumerate(value):
        place = (*path, number) if len(value) > 1 else path
        confidence = None
        if isinstance(item, Mapping) and not missing(item):
            key = next((k for k in _TEXT_KEYS if k in item), None)
            if key is None or "role" in item:  # a turn is read as one, or not at all
                raise unknown(entry, place, item, "a text under one of " + ", ".join(_TEXT_KEYS))
            confidence = item.get("answer_confidence", item.get("confidence"))
            for other in item:
                if unused and other not in (key, "answer_confidence", "confidence"):
                    unused(f"{path[0]}.{other}")
            item = item[key]
        found = text(entry, place, item)
        if found is None:
            left_out(f"null or blank items of column {path[0]!r}")
        else:
            out.append(Said(found, confidence))
    return out


def _transposed(entry: Entry, path: Place, value: Mapping[str, Any]) -> list[dict]:
    """{"text": [a, b], "start": [0, 1]} as [{"text": a, "start": 0}, ...]."""
    lists = {k: v for k, v in value.items() if not missing(v)}
    lengths = {len(v) if isinstance(v, list) else None for v in lists.values()}
    if len(lengths) > 1 or None in lengths:
        raise unknown(entry, path, value, "lists of one length")
    return [dict(zip(lists, items, strict=True)) for items in zip(*lists.values(), strict=True)]


def objects(entry: Entry, path: Place, value: Any) -> list[Any]:
    """A list, or an object with lists as Hugging Face stores a sequence of objects."""
    value = listed(value, entry, always=True)
    if isinstance(value, Mapping) and any(isinstance(v, list) for v in value.values()):
        return _transposed(entry, path, value)
    if not isinstance(value, list):
        raise unknown(entry, path, value, "a list")
    return value


def listed(value: Any, entry: Entry, always: bool = False) -> Any:
    """A list or object that a cell holds as text: in JSON, or as Python prints it.

    Only cells of tables without types are looked into, unless `always`. Lists of numbers stay
    text: they may be boxes that are to be said.
    """
    if (
        (entry.typed and not always)
        or not isinstance(value, str)
        or value.strip()[:1] not in ("[", "{")
        or _PRINTED.match(value.strip())
    ):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            parsed = parse(value.strip())
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        plain = isinstance(parsed, list) and any(isinstance(v, str | dict | list) for v in parsed)
        return parsed if plain or isinstance(parsed, dict) else value
    return value


def images(entry: Entry, path: Place, value: Any) -> list[ImageRef]:
    """References to the images of a cell: one or a list, by path, URL, or written into the row."""
    value = listed(value, entry, always=True)
    if missing(value, entry.typed):
        return []
    _check_print(entry, path, value)
    if isinstance(value, list):
        return [r for i, item in enumerate(value) for r in images(entry, (*path, i), item)]
    if isinstance(value, Mapping):
        for key in _IMAGE_KEYS:
            if not missing(value.get(key)):
                return images(entry, (*path, key), value[key])
        if value.get("type") == "base64" and isinstance(value.get("data"), str):
            return [_written(entry, (*path, "data"))]
    if isinstance(value, bytes):
        while path[-1:] == ("bytes",):
            path = path[:-1]
        return [_written(entry, path)]
    if isinstance(value, str):
        found = value.strip()
        if found.startswith(("http://", "https://")):
            return [ImageRef(url=found)]
        if found.startswith("data:") or _is_base64(found):
            return [_written(entry, path)]
        if _SEVERAL.search(found):
            raise unknown(entry, path, found, 'one path, or a list such as ["1.png", "2.png"]')
        return [ImageRef(path=_below(entry, path, found))]
    raise unknown(entry, path, value, "the path, URL or bytes of an image, or a list of them")


def _is_base64(value: str) -> bool:
    return len(value) > 60 and value.startswith(_BASE64) and not _SUFFIXES.search(value)


def _below(entry: Entry, path: Place, value: str) -> str:
    value = value.removeprefix("file://")
    if "\\" in value and "/" not in value:
        value = value.replace("\\", "/")  # as Windows writes them
    if _DRIVE.match(value):
        raise BadRow(
            f"Column {path[0]!r}: image {value!r} is on a drive of Windows",
            where=entry.where,
            expected="a path below --image_root",
            fix="leave out the drive and the folders above the images",
        )
    depth = 0
    for part in value.split("/"):
        depth += {"..": -1, ".": 0, "": 0}.get(part, 1)
        if depth < 0 and not value.startswith("/"):
            raise BadRow(
                f"Column {path[0]!r}: image {value!r} leads out of the image root",
                where=entry.where,
                expected="a path below --image_root",
                fix="give the folder above as --image_root, and paths below it",
            )
    return value


_DRIVE = re.compile(r"[A-Za-z]:[/\\]")


def _written(entry: Entry, path: Place) -> ImageRef:
    if entry.inside is None:
        raise DataError(
            f"Column {path[0]!r} holds an encoded image at {name(path)}",
            where=entry.where,
            expected="the path of an image file; images inside a table can be read from JSON "
            "lines, Parquet, Arrow and tar",
            fix="write the rows as JSON lines (zv data convert pairs_jsonl), or save the images "
            "as files and name their paths",
        )
    return ImageRef(shard_key=entry.inside(path))


def looks_like_image(value: Any) -> bool:
    """Bytes, Hugging Face's {bytes, path}, a data URL, or names of image files."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return any(map(looks_like_image, value))
    if isinstance(value, Mapping):
        return isinstance(value.get("bytes"), bytes) or looks_like_image(value.get("path"))
    if isinstance(value, str):
        found = value.strip()
        return bool(_SUFFIXES.search(found)) or found.startswith("data:image/") or _is_base64(found)
    return isinstance(value, bytes)
