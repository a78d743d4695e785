"""Where in a file the entry of a key is: a table that takes 16 bytes a row, not 200.

Open addressing with linear probing in two arrays of integers. Only half of a key's bits that matter
are kept, so that a place is a candidate: whoever reads there compares the key itself.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator

_FULLEST = 0.6


class Offsets:
    """Offsets by key, keys being sha256 in hex."""

    def __init__(self) -> None:
        self._grow(1 << 10, ())
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def add(self, key: str, offset: int) -> None:
        """Puts an offset at `key`, beside those that are there."""
        if self._rows >= _FULLEST * len(self._heads):
            old = zip(self._heads, self._places, strict=True)
            self._grow(2 * len(self._heads), ((head, place) for head, place in old if place))
        self._put(_head(key), offset + 1)
        self._rows += 1

    def candidates(self, key: str) -> Iterator[int]:
        """Offsets at which `key` may be; nearly always one, or none."""
        head, mask = _head(key), len(self._heads) - 1
        slot = head & mask
        while self._places[slot]:
            if self._heads[slot] == head:
                yield self._places[slot] - 1
            slot = (slot + 1) & mask

    def _put(self, head: int, place: int) -> None:
        mask = len(self._heads) - 1
        slot = head & mask
        while self._places[slot]:
            slot = (slot + 1) & mask
        self._heads[slot], self._places[slot] = head, place

    def _grow(self, size: int, rows: object) -> None:
        self._heads, self._places = array("Q", bytes(8 * size)), array("Q", bytes(8 * size))
        for head, place in rows:
            self._put(head, place)


def _head(key: str) -> int:
    return int(key[:16], 16)
