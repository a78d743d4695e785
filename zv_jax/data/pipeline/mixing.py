"""Which sample stands at which place of the endless training stream; numbers only, no data.

Every source is shuffled anew each epoch and repeated on its own, then all are interleaved in exact
proportion to their weights. The stream depends on nothing but sizes, weights, the places of
the sources and the seed, so place n is known without visiting the places before it.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import grain

from zv_jax.errors import unknown_name

MIXINGS: dict[str, float] = {"weights": 0.0, "sqrt_size": 0.5, "size": 1.0}
"""How the shares of sources follow from their sizes: weight x size ** exponent."""


class SampleRef(NamedTuple):
    """One place of the stream: sample `sample` of source `source`, seen for the `epoch`-th time."""

    source: int
    sample: int
    epoch: int


class _Tag:
    """Turns a shuffled sample number into a `Pick`; a class, so that workers can unpickle it."""

    def __init__(self, source: int, size: int):
        self.source, self.size = source, size

    def __call__(self, place: int, sample: int) -> SampleRef:
        return SampleRef(self.source, int(sample), place // self.size)


def mixture(
    sizes: Sequence[int],
    weights: Sequence[float],
    seed: int,
    places: Sequence[int] | None = None,
    chosen: Sequence[int] | None = None,
) -> grain.MapDataset:
    """The endless stream of `Pick`s.

    Args:
      sizes: samples of each source, above 0; weights: shares of the stream, above 0.
      places: of the sources in `data.sources`; by default they are numbered. With `seed` they
        decide the order within each source: two sources never come in the same order, though they
        have one name and one size, and a source put behind the others leaves theirs alone.
      chosen: numbers of the sources that it is made of; all by default.
    """
    streams = []
    places = range(len(sizes)) if places is None else places
    chosen = range(len(sizes)) if chosen is None else chosen
    for number in chosen:
        size = sizes[number]
        own = zlib.crc32(f"{places[number]}\x1f{seed}".encode())
        stream = grain.MapDataset.range(size).seed(own).shuffle().repeat()
        streams.append(stream.map_with_index(_Tag(number, size)))
    return interleaved(streams, [weights[number] for number in chosen])


def interleaved(streams: Sequence[grain.MapDataset], weights: Sequence[float]) -> grain.MapDataset:
    """Endless streams as one, in exact proportion to their weights."""
    return streams[0] if len(streams) == 1 else grain.MapDataset.mix(streams, list(weights))


def shares(sizes: Sequence[int], weights: Sequence[float], mixing: str) -> list[float]:
    """The share of each source in the stream, adding up to 1; see `MIXINGS`.

    InstructBLIP (section 2.4) mixes by the square root of the size: large sets do not drown small
    ones, small ones are not repeated too often.

    Raises:
      ConfigError: there is no such mixing.
    """
    if mixing not in MIXINGS:
        raise unknown_name(
            "mixing", mixing, MIXINGS, "data.mixing", fix="set --config.data.mixing=weights"
        )
    raw = [w * n ** MIXINGS[mixing] for w, n in zip(weights, sizes, strict=True)]
    return [value / sum(raw) for value in raw]
