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
import numpy as np

from zv_jax.data.records import record as records_lib
from zv_jax.data.records.facts import Facts
from zv_jax.errors import unknown_name

DEFAULT_TASKS: dict[str, tuple[str, ...]] = {
    "language": tuple(t for t in records_lib.TASKS if t != "retrieval"),
    "vision": ("caption",),
    "stage0": ("caption",),
    "stage1": tuple(t for t in records_lib.TASKS if t != "retrieval"),
    "stage2": tuple(t for t in records_lib.TASKS if t != "retrieval"),
}
WHOLE, BARE = -1, -2
"""Parts of a record that are not one answer: the dialogue at once, its caption as bare text."""


MIXINGS: dict[str, float] = {"weights": 0.0, "sqrt_size": 0.5, "size": 1.0}
"""How the shares of sources follow from their sizes: weight x size ** exponent."""


class Pick(NamedTuple):
    """One place of the stream: sample `sample` of source `source`, seen for the `epoch`-th time."""

    source: int
    sample: int
    epoch: int


class _Tag:
    """Turns a shuffled sample number into a `Pick`; a class, so that workers can unpickle it."""

    def __init__(self, source: int, size: int):
        self.source, self.size = source, size

    def __call__(self, place: int, sample: int) -> Pick:
        return Pick(self.source, int(sample), place // self.size)


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


def check_tasks(tasks: Sequence[str], langs: Sequence[str], where: str) -> None:
    """`ConfigError` for a task or language that does not exist."""
    known = ("en", "zh")
    for values, valid, name in ((tasks, records_lib.TASKS, "tasks"), (langs, known, "langs")):
        for value in values:
            if value not in valid:
                raise unknown_name(
                    name[:-1], value, valid, f"{where}.{name}", fix=f"correct the source's {name}"
                )


def samples(
    facts: Facts,
    stage: str,
    *,
    tasks: Sequence[str],
    langs: Sequence[str],
    max_images: int,
    expand: bool,
) -> np.ndarray:
    """int64 [N, 2] of (record, part): what a stage draws from one source.

    Language: every dialogue whole, and every caption once more as bare text. Vision and
    stage 0: records of one picture. Stages 1 and 2: records of at most `max_images` pictures, one
    sample per answer where `expand`, else one per record.
    """
    out = excluded(facts, stage, tasks=tasks, langs=langs, max_images=max_images)
    kept = ~np.logical_or.reduce(list(out.values()))
    rows = np.flatnonzero(kept)
    if stage == "language":
        bare = np.flatnonzero(kept & (facts.task == records_lib.TASKS.index("caption")))
        return np.concatenate([_with(rows, WHOLE), _with(bare, BARE)])
    if stage in ("vision", "stage0") or not expand:
        return _with(rows, WHOLE)
    counts = facts.parts[rows].astype(np.int64)
    starts = np.repeat(np.cumsum(counts) - counts, counts)
    return np.stack([np.repeat(rows, counts), np.arange(counts.sum()) - starts], axis=1)


def excluded(
    facts: Facts,
    stage: str,
    *,
    tasks: Sequence[str],
    langs: Sequence[str],
    max_images: int,
    expand: bool = False,
) -> dict[str, np.ndarray]:
    """{reason: bool [N]}: the records a stage does not draw, each under its first reason: task,
    language, number of images, or nothing in it to learn; arguments as for `samples`."""
    del expand  # it changes how often a record is drawn, not whether
    wanted = [records_lib.TASKS.index(t) for t in tasks or DEFAULT_TASKS[stage]]
    spoken = [i for i, lang in enumerate(records_lib.LANGS) if set(lang.split("-")) <= set(langs)]
    fits = {
        "task": np.isin(facts.task, wanted),
        "language": np.isin(facts.lang, spoken),
        "images": np.ones(len(facts.task), bool),  # the language warm-up sees none
        "empty": facts.parts > 0,
    }
    if stage in ("vision", "stage0"):
        fits["images"] = facts.images == 1
    elif stage != "language":
        # A caption of no image would teach to describe what is not there.
        captions = facts.task == records_lib.TASKS.index("caption")
        fits["images"] = (facts.images <= max_images) & ~(captions & (facts.images == 0))
    found, left = {}, np.ones(len(facts.task), bool)
    for reason, right in fits.items():
        found[reason] = left & ~right
        left = left & right
    return found


def _with(rows: np.ndarray, part: int) -> np.ndarray:
    return np.stack([rows, np.full_like(rows, part)], axis=1).astype(np.int64)
