"""Near-duplicates: pictures by perceptual hash, texts by MinHash; the first of each kind is kept.

A picture may have several captions and a caption several pictures: a pair is a duplicate only if
both its picture and its text were seen together.
"""

from __future__ import annotations

import collections

import numpy as np
from PIL import Image

_BANDS, _BITS = 4, 16  # a distance of 3 leaves one of 4 bands equal
MAX_DISTANCE = _BANDS - 1


def picture_hash(image: Image.Image) -> int:
    """64 bits: is each of 8x8 grey cells brighter than its right neighbour (difference hash)?

    Resizing, recompression and small changes of colour leave nearly all bits.
    """
    grey = image.convert("L").resize((9, 8), Image.Resampling.BILINEAR)
    pixels = np.asarray(grey, np.int16)
    return int.from_bytes(np.packbits(pixels[:, 1:] > pixels[:, :-1]).tobytes(), "big")


class Pictures:
    """Gives pictures that look alike one number."""

    def __init__(self):
        self._bands: dict[tuple[int, int], list[tuple[int, int]]] = collections.defaultdict(list)
        self._exact: dict[int, int] = {}
        self._kinds = 0

    def number(self, code: int) -> int:
        """The number of the first picture within `MAX_DISTANCE` bits of `code`."""
        if code in self._exact:
            return self._exact[code]
        parts = [(k, code >> (k * _BITS) & (2**_BITS - 1)) for k in range(_BANDS)]
        for part in parts:
            for other, number in self._bands[part]:
                if (code ^ other).bit_count() <= MAX_DISTANCE:
                    self._exact[code] = number
                    return number
        number = self._exact[code] = self._kinds
        self._kinds += 1
        for part in parts:
            self._bands[part].append((code, number))
        return number


class Texts:
    """Gives texts that share most of their character 5-grams one number (MinHash LSH)."""

    def __init__(self, threshold: float = 0.8, permutations: int = 64):
        import datasketch

        self._make = lambda: datasketch.MinHash(permutations, seed=1)
        self._index = datasketch.MinHashLSH(threshold, permutations)
        self._exact: dict[str, int] = {}
        self._kinds = 0

    def number(self, text: str) -> int:
        """The number of the first text like `text`."""
        key = "".join(text.lower().split())
        if key in self._exact:
            return self._exact[key]
        hashed = self._make()
        hashed.update_batch([key[i : i + 5].encode() for i in range(max(1, len(key) - 4))])
        alike = self._index.query(hashed)
        if alike:
            number = min(alike)
        else:
            number = self._kinds
            self._kinds += 1
            self._index.insert(number, hashed)
        self._exact[key] = number
        return number


class Pairs:
    """Finds pairs of which picture and text were seen together."""

    def __init__(self):
        self.pictures, self.texts = Pictures(), Texts()
        self._seen: set[tuple[int, int]] = set()

    def repeats(self, code: int, text: str) -> bool:
        """Was a pair like this seen? It is from now on."""
        pair = self.pictures.number(code), self.texts.number(text)
        known = pair in self._seen
        self._seen.add(pair)
        return known
