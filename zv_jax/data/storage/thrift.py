"""Values of Thrift's compact protocol, in which Parquet files describe themselves.

Only what is asked for is kept. Fields of another type than expected, and numbers longer than their
type, are taken as the C++ library takes them, so that both read one and the same thing:
https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

I32, I64 = 5, 6
_TRUE, _FALSE, _BYTE, _I16, _DOUBLE, _BINARY, _LIST, _SET, _MAP, _STRUCT = 1, 2, 3, 4, *range(7, 13)
_BITS = {_I16: 16, I32: 32, I64: 64}


class Thrift:
    """What stands in `data` from `at` on; `at` moves to the end of what is read.

    `IndexError` where `data` ends before that.
    """

    def __init__(self, data: bytes, at: int = 0):
        self.data, self.at = data, at

    def struct(self, wanted: Mapping[int, Any]) -> dict[int, Any]:
        """The fields of a struct by their numbers.

        Args:
            wanted: by number what a field is: `I32`, `I64`, for a struct its own `wanted`, for a
                list a list of one of these.

        Raises:
            ValueError: it is no struct.
        """
        found: dict[int, Any] = {}
        field = 0
        while head := self._byte():
            kind = head & 15
            field = field + (head >> 4) if head >> 4 else self._signed(_I16)
            shape = wanted.get(field)
            if shape is not None and kind == _kind(shape):
                found[field] = self._value(kind, shape)
            else:
                self._skip(kind, in_list=False)
        return found

    def _value(self, kind: int, shape: Any) -> Any:
        if kind == _STRUCT:
            return self.struct(shape)
        if kind == _LIST:
            inner, count = self._list()
            if inner != _kind(shape[0]):
                for _ in range(count):
                    self._skip(inner, in_list=True)
                return []
            return [self._value(inner, shape[0]) for _ in range(count)]
        return self._signed(kind)

    def _skip(self, kind: int, in_list: bool) -> None:
        if kind in (_TRUE, _FALSE):  # a field has its value in its head
            self.at += in_list
        elif kind == _BYTE:
            self.at += 1
        elif kind in _BITS:
            self._number()
        elif kind == _DOUBLE:
            self.at += 8
        elif kind == _BINARY:
            length = self._number()
            self.at += length
        elif kind in (_LIST, _SET):
            inner, count = self._list()
            for _ in range(count):
                self._skip(inner, in_list=True)
        elif kind == _MAP:
            count = self._number()
            kinds = self._byte() if count else 0
            for _ in range(count):
                self._skip(kinds >> 4, in_list=True)
                self._skip(kinds & 15, in_list=True)
        elif kind == _STRUCT:
            self.struct({})
        else:
            raise ValueError(f"a value of no type of Thrift, {kind}")
        if self.at > len(self.data):
            raise IndexError("the data ends within a value")

    def _list(self) -> tuple[int, int]:
        """Type and number of the elements of a list that begins here."""
        head = self._byte()
        return head & 15, self._number() if head >> 4 == 15 else head >> 4

    def _byte(self) -> int:
        self.at += 1
        return self.data[self.at - 1]

    def _number(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 127) << shift
            if byte < 128:
                return value
            shift += 7
            if shift > 63:
                raise ValueError("a number of Thrift that does not end")

    def _signed(self, kind: int) -> int:
        value = self._number() & ((1 << (64 if kind == I64 else 32)) - 1)
        value = (value >> 1) ^ -(value & 1)
        return (value + 2**15) % 2**16 - 2**15 if kind == _I16 else value


def _kind(shape: Any) -> int:
    """The type of a field, by its `wanted`."""
    if isinstance(shape, Mapping):
        return _STRUCT
    return _LIST if isinstance(shape, list) else shape
