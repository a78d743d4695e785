"""The header of a GGUF file, walked before the package `gguf` reads it.

A few bytes can claim 2^40 values, and the package makes an array of each value: it would take
gigabytes, or never end. What a file claims is compared with its size here.

Source of the format: ggml-org/ggml, docs/gguf.md.
"""

from __future__ import annotations

import math
import os
import struct
from pathlib import Path
from typing import BinaryIO

MAX_VALUES = 1 << 22  # of all arrays together; the largest vocabularies have a quarter of that
MAX_AXES = 4  # of a tensor, as in ggml
_BITS = 8  # elements that a byte can hold at most; quantised ones take more than one bit
_STRING, _ARRAY = 8, 9
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # by type, bytes


def check(path: Path) -> None:
    """Walks names, metadata and shapes; values of tensors are not read.

    Raises:
        ValueError: a count or a length is beyond what a file of this size can hold, or a type is
            none of the format.
        OSError: it cannot be read.
    """
    with open(path, "rb") as file:
        _Walk(file).run()


class _Walk:
    def __init__(self, file: BinaryIO):
        self._file = file
        self._size = os.fstat(file.fileno()).st_size
        self._order = "<"
        self._values = 0

    def run(self) -> None:
        if self._bytes(4) != b"GGUF":
            raise ValueError("it does not begin with GGUF")
        version = self._number("I")
        if version & 0xFFFF == 0:  # written on a machine of the other byte order
            self._order = ">"
            version = int.from_bytes(version.to_bytes(4, "little"), "big")
        if version not in (2, 3):
            raise ValueError(f"version {version}")
        tensors, fields = self._number("Q"), self._number("Q")
        for _ in range(self._count(fields, 13, "fields")):  # a name, a type and a byte at least
            self._string()
            self._value(self._number("I"))
        elements = sum(self._tensor() for _ in range(self._count(tensors, 24, "tensors")))
        if elements > _BITS * self._size:
            raise ValueError(f"its tensors have {elements} elements, more than it can hold")

    def _value(self, kind: int) -> None:
        if kind == _STRING:
            self._string()
        elif kind == _ARRAY:
            self._array(self._number("I"), self._number("Q"))
        else:
            self._skip(self._width(kind))

    def _array(self, kind: int, count: int) -> None:
        if kind == _ARRAY:
            raise ValueError("it has arrays of arrays, which no LLaMA has")
        width = 8 if kind == _STRING else self._width(kind)
        self._values += self._count(count, width, "values of an array")
        if self._values > MAX_VALUES:
            raise ValueError(f"its metadata have more than {MAX_VALUES} values")
        if kind != _STRING:
            self._skip(count * width)
            return
        for _ in range(count):
            self._string()

    def _tensor(self) -> int:
        """How many elements it claims."""
        self._string()
        axes = self._number("I")
        if not 1 <= axes <= MAX_AXES:
            raise ValueError(f"a tensor has {axes} axes")
        shape = [self._number("Q") for _ in range(axes)]
        if 0 in shape:
            raise ValueError("a tensor is empty")
        self._skip(4 + 8)  # type and offset
        return math.prod(shape)

    def _width(self, kind: int) -> int:
        if kind not in _SIZES:
            raise ValueError(f"there is no type {kind} of metadata")
        return _SIZES[kind]

    def _count(self, count: int, width: int, of: str) -> int:
        """`count` itself, if so many things of at least `width` bytes can follow."""
        if count * width > self._size - self._file.tell():
            raise ValueError(f"it claims {count} {of}, more than it can hold")
        return count

    def _string(self) -> None:
        self._skip(self._number("Q"))

    def _skip(self, count: int) -> None:
        if count > self._size - self._file.tell():
            raise ValueError("it ends too early")
        self._file.seek(count, os.SEEK_CUR)

    def _number(self, code: str) -> int:
        code = self._order + code
        return struct.unpack(code, self._bytes(struct.calcsize(code)))[0]

    def _bytes(self, count: int) -> bytes:
        found = self._file.read(count)
        if len(found) < count:
            raise ValueError("it ends too early")
        return found
