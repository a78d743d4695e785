"""Arrow stream files, as `datasets` saves them: mapped into memory, checked before they are used.

Arrow trusts its own files: it follows offsets and numbers of values wherever they lead. In files of
others they may lead out of the file, or make a few bytes more than memory holds.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zv_jax.data.storage.parquet import COUNT, ONCE, RATIO, ROWS

_RECORDS, _DICTIONARY = (
    3,
    2,
)  # kinds of messages: https://arrow.apache.org/docs/format/Columnar.html


class Table:
    """An Arrow stream that is open; `schema` is its schema, `data` the `pyarrow.Table`.

    Raises:
        ValueError: it is compressed, or holds more values than a file of its size, or values that
            share each other. What pyarrow raises of damaged files, besides.
    """

    def __init__(self, path: str | Path):
        import pyarrow

        size = Path(path).stat().st_size
        with pyarrow.memory_map(str(path)) as source:
            _check_messages(source, max(COUNT, RATIO * size))
        with pyarrow.ipc.open_stream(pyarrow.memory_map(str(path))) as reader:
            self.schema = reader.schema
            for field in self.schema:
                _check_type(field.type, field.name)
            self.data = reader.read_all()
        self.data.validate(full=True)

    def batches(self) -> Iterator[Any]:
        """Record batches of at most `ROWS` rows; of fewer where these share much."""
        shared = max(1, sum(map(_shared, self.data.columns)))
        return iter(self.data.to_batches(max(1, min(ROWS, ONCE // shared))))


def _check_messages(source: Any, most: int) -> None:
    """Refuses compressed batches, and those of more than `most` values: of nothing, or of lists of
    nothing, a file may name any number."""
    import pyarrow

    count = 0
    for message in pyarrow.ipc.MessageReader.open_stream(source):
        table = _FlatTable(message.metadata.to_pybytes())
        header, kind = table.inner(2), table.number(1, "<B")
        if kind == _DICTIONARY and header:
            header = header.inner(1)
        if kind not in (_RECORDS, _DICTIONARY) or header is None:
            continue
        if header.inner(3):
            raise ValueError("it is compressed; save it again with save_to_disk of `datasets`")
        count += header.number(0, "<q") + sum(header.lengths(1))
        if count > most:
            raise ValueError(f"it names {count:,} values or more, which a file of its size has not")


class _FlatTable:
    """A table of FlatBuffers, which pyarrow has verified: https://flatbuffers.dev/internals/"""

    def __init__(self, data: bytes, at: int | None = None):
        self.data = data
        self.at = self._read("<I", 0) if at is None else at
        self._fields = self.at - self._read("<i", self.at)

    def _read(self, kind: str, at: int) -> int:
        return struct.unpack_from(kind, self.data, at)[0]

    def _place(self, field: int) -> int | None:
        """Where the value of a field is, or None if it has none."""
        at = 4 + 2 * field
        inside = at < self._read("<H", self._fields)
        offset = self._read("<H", self._fields + at) if inside else 0
        return self.at + offset if offset else None

    def number(self, field: int, kind: str) -> int:
        at = self._place(field)
        return 0 if at is None else self._read(kind, at)

    def inner(self, field: int) -> _FlatTable | None:
        """The table that a field holds."""
        at = self._place(field)
        return None if at is None else _FlatTable(self.data, at + self._read("<I", at))

    def lengths(self, field: int) -> list[int]:
        """The numbers of values of a list of field nodes, which are pairs of 64 bits."""
        at = self._place(field)
        if at is None:
            return []
        at += self._read("<I", at)
        return [self._read("<q", at + 4 + 16 * i) for i in range(self._read("<I", at))]


def _check_type(kind: Any, name: str, inner: bool = False) -> None:
    """Refuses types of which a row may hold the same bytes any number of times."""
    import pyarrow
    from pyarrow import types

    if isinstance(kind, pyarrow.BaseExtensionType):
        kind = kind.storage_type
    shared = (
        types.is_string_view(kind)
        or types.is_binary_view(kind)
        or types.is_list_view(kind)
        or types.is_large_list_view(kind)
        or types.is_run_end_encoded(kind)
        or types.is_union(kind)
    )
    if types.is_dictionary(kind):
        shared = inner or types.is_nested(kind.value_type)
    if shared:
        raise ValueError(f"column {name!r} is of type {kind}; save it as plain texts and lists")
    for number in range(kind.num_fields):
        _check_type(kind.field(number).type, name, inner=True)


def _shared(column: Any) -> int:
    """Bytes that each row of a column may hold of what is stored once."""
    from pyarrow import types

    if not types.is_dictionary(column.type):
        return 0
    return max((chunk.dictionary.nbytes for chunk in column.chunks), default=0)
