"""Near-duplicates: images by difference hash, texts by MinHash; the first pair of a kind is kept.

An image may have several captions and a caption several images: a pair is a duplicate only if
an earlier pair, kept or not, has an image within `MAX_DISTANCE` bits and a text that shares a band
of MinHash values (LSH). Two such pairs have a key in common, so the pairs of each key can be looked
through alone, on any machine, and no pair's fate depends on that of another.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

_BANDS, _BYTES = 4, 2  # of an image's 64 bits: a distance of 3 leaves one of 4 bands equal
MAX_DISTANCE = _BANDS - 1
_THRESHOLD, _PERMUTATIONS = 0.8, 64  # of MinHash, over character 5-grams


def image_hash(image: Image.Image) -> int:
    """64 bits: is each of 8x8 grey cells brighter than its right neighbour (difference hash)?

    Resizing, recompression and small changes of colour leave nearly all bits.
    """
    grey = image.convert("L").resize((9, 8), Image.Resampling.BILINEAR)
    pixels = np.asarray(grey, np.int16)
    return int.from_bytes(np.packbits(pixels[:, 1:] > pixels[:, :-1]).tobytes(), "big")


@functools.cache
def _minhash() -> tuple[Any, int, int]:
    """An empty MinHash, the number of bands and the values in each."""
    import datasketch

    index = datasketch.MinHashLSH(_THRESHOLD, _PERMUTATIONS)
    return datasketch.MinHash(_PERMUTATIONS, seed=1), index.b, index.r


def text_bands(text: str) -> list[bytes]:
    """Texts that share most of their character 5-grams very likely share one of these."""
    empty, bands, rows = _minhash()
    letters, hashed = "".join(text.lower().split()), empty.copy()
    hashed.update_batch([letters[i : i + 5].encode() for i in range(max(1, len(letters) - 4))])
    values = hashed.hashvalues
    return [bytes([k]) + values[k * rows : (k + 1) * rows].tobytes() for k in range(bands)]


@dataclass(frozen=True)
class Look:
    """What is compared of a pair: the hash of its image, and the keys it is found by."""

    code: int
    keys: tuple[bytes, ...]


def look(code: int, text: str) -> Look:
    """Of a pair of an image with this hash and a text: a key per band of one and of the other."""
    data = code.to_bytes(_BANDS * _BYTES, "big")
    seen = [bytes([k]) + data[k * _BYTES : (k + 1) * _BYTES] for k in range(_BANDS)]
    read = text_bands(text)
    # 8 bytes: two keys that fall together by chance still differ in their images.
    return Look(
        code, tuple(hashlib.blake2b(a + b, digest_size=8).digest() for a in seen for b in read)
    )


class Pairs:
    """Finds pairs like an earlier one."""

    def __init__(self):
        self._codes: dict[bytes, tuple[int, ...]] = {}  # the different images of each key

    def repeats(self, pair: Look) -> bool:
        """Was a pair like this seen? It is from now on."""
        known, own = False, (pair.code,)
        for key in pair.keys:
            codes = self._codes.get(key, ())
            known = known or any((pair.code ^ c).bit_count() <= MAX_DISTANCE for c in codes)
            if pair.code not in codes:
                self._codes[key] = codes + own
        return known


def repeated(pairs: Iterable[tuple[int, int]]) -> Iterator[int]:
    """The places of those pairs of one key, given as (place, code), that have an earlier one."""
    seen = Pairs()
    for place, code in sorted(pairs):
        if seen.repeats(Look(code, (b"",))):
            yield place
