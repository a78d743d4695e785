"""How much memory the columns of a Parquet file may take, as their pages say of themselves.

The footer names sizes too, but a hostile one may name any: nothing is decoded by them. pyarrow
decodes by the header in front of every page, and so do we count:
https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zv_jax.data.storage.thrift import I32, I64, Thrift

_META = {1: I32, 4: I32, 5: I64, 7: I64, 9: I64, 11: I64}
_FOOTER = {4: [{1: [{3: _META}]}]}
_TYPE, _CODEC, _VALUES, _STORED, _DATA, _DICTIONARY = 1, 4, 5, 7, 9, 11  # of a column's `_META`
_HEADER = {1: I32, 2: I32, 3: I32, 5: {1: I32, 2: I32}, 7: {1: I32}, 8: {1: I32, 4: I32}}
_BODY = {0: 5, 2: 7, 3: 8}  # the field of a header with what is particular to a type of page
_LONGEST_HEADER = 16 * 2**20  # bytes; pyarrow's own bound
_CODECS = {0: None, 1: "snappy", 2: "gzip", 4: "brotli", 6: "zstd", 7: "lz4_raw"}
_BYTES, _FIXED = 6, 7  # types whose values have a length of their own
_BY_NUMBER, _BY_PREFIX = (2, 8), 7  # encodings that store once what many values hold
_CELL = 16  # bytes in memory of a number, or of a text beside its own
_PARSED = 2**24  # bytes of the longest dictionary in which the longest entry is looked for


@dataclass(frozen=True)
class Chunk:
    """A column of a row group."""

    group: int
    column: int
    """Number of the column among the leaves of the schema."""
    stored: int
    """Bytes in the file."""
    holds: int
    """Bytes of its pages before compression."""
    longest: int
    """Bytes of the largest page: no value is longer."""
    swells: int
    """Bytes that its values take in memory at most, where what is stored once stands in each."""


def chunks(path: str | Path) -> list[Chunk]:
    """All columns of all row groups.

    Raises:
        ValueError, IndexError: what the file says of itself cannot be read.
    """
    with (
        Path(path).open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data,
    ):
        length = int.from_bytes(data[-8:-4], "little")
        if data[-4:] != b"PAR1" or length + 12 > len(data):
            raise ValueError("it does not end as a Parquet file does")
        groups = Thrift(data[-8 - length : -8]).struct(_FOOTER)
        return [
            _chunk(data, group, number, column.get(3, {}))
            for group, columns in enumerate(groups.get(4, []))
            for number, column in enumerate(columns.get(1, []))
        ]


def _chunk(data: mmap.mmap, group: int, number: int, meta: Mapping[int, int]) -> Chunk:
    stored = holds = longest = swells = once = 0
    kind = meta.get(_TYPE, 0)
    for header, at in _pages(data, meta):
        size, body = header.get(2, 0), header.get(_BODY.get(header.get(1), 0), {})
        stored, holds, longest = stored + header[3], holds + size, max(longest, size)
        if header.get(1) == 2:
            once = max(once, _longest(data[at : at + header[3]], size, body.get(1, 0), meta))
            continue
        count, encoding = body.get(1, 0), body.get(4 if header.get(1) == 3 else 2, 0)
        if encoding in _BY_NUMBER:
            swells += count * (_CELL + once)
        elif encoding == _BY_PREFIX and kind in (_BYTES, _FIXED):
            swells += count * (_CELL + size)
        else:
            swells += count * _CELL + size
    return Chunk(group, number, stored, holds, longest, swells)


def _pages(data: mmap.mmap, meta: Mapping[int, int]) -> Iterator[tuple[dict[int, Any], int]]:
    """(header, offset of what follows it) of each page that pyarrow reads of a column."""
    at = start = meta.get(_DATA, 0)
    if 0 < meta.get(_DICTIONARY, 0) < start:
        at = start = meta[_DICTIONARY]
    seen, end = 0, min(len(data), start + meta.get(_STORED, 0))
    while seen < meta.get(_VALUES, 0) and 0 <= at < end:
        header, at = _header(data, at)
        size = header.get(3, 0)
        if size < 0 or header.get(2, 0) < 0 or at + size > len(data):
            raise ValueError("a page that ends beyond the file")
        header[3] = size
        count = header.get(_BODY.get(header.get(1), 0), {}).get(1, 0)
        if count < 0:
            raise ValueError("a page of less than no values")
        seen += count if header.get(1) in (0, 3) else 0
        yield header, at
        at += size


def _header(data: mmap.mmap, at: int) -> tuple[dict[int, Any], int]:
    """The header of the page at `at`, and where it ends."""
    size = 256
    while True:
        thrift = Thrift(data[at : at + size])
        try:
            return thrift.struct(_HEADER), at + thrift.at
        except IndexError:
            if size >= _LONGEST_HEADER or at + size >= len(data):
                raise
            size *= 16


def _longest(data: bytes, size: int, count: int, meta: Mapping[int, int]) -> int:
    """Bytes of the longest entry of a dictionary, or of all of it where that is not looked for."""
    if meta.get(_TYPE) == _FIXED:
        return size // max(1, count)
    if meta.get(_TYPE) != _BYTES:
        return 0  # a number
    codec = _CODECS.get(meta.get(_CODEC, 0), "")
    if size > _PARSED or codec == "":
        return size
    import pyarrow

    if codec is not None:
        data = pyarrow.decompress(data, size, codec, asbytes=True)
    longest = at = 0
    while at + 4 <= len(data):
        length = int.from_bytes(data[at : at + 4], "little")
        longest, at = max(longest, length), at + 4 + length
    return min(longest, size)
