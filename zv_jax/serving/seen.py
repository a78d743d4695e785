"""What has been computed from an image is kept: its pixels are read once, whatever is asked."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

import numpy as np


class Kept:
    """The most recent results of computations, by what they were computed from.

    Args:
        most: how many are kept; the one that was used longest ago goes first.

    Attributes:
        hits, misses: how often a result was there, and was not.
    """

    def __init__(self, most: int):
        self.most, self.hits, self.misses = most, 0, 0
        self._kept: OrderedDict[bytes, np.ndarray] = OrderedDict()

    def of(self, key: bytes, compute: Callable[[], np.ndarray]) -> np.ndarray:
        """The result with this key, computed if it is not there."""
        if key in self._kept:
            self.hits += 1
            self._kept.move_to_end(key)
            return self._kept[key]
        self.misses += 1
        found = self._kept[key] = compute()
        if len(self._kept) > self.most:
            self._kept.popitem(last=False)
        return found

    def clear(self) -> None:
        """Forgets all results."""
        self._kept.clear()


def key_of(*arrays: np.ndarray) -> bytes:
    """SHA-256 of the content, shape and dtype of arrays."""
    found = hashlib.sha256()
    for array in arrays:
        found.update(repr((array.shape, array.dtype.str)).encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return found.digest()
