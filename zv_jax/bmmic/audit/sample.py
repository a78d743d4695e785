"""Which pairs of a run people look at: half kept, half dropped, over filters and languages."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from zv_jax import json_input
from zv_jax.bmmic import pair as pairs
from zv_jax.bmmic.config import Config
from zv_jax.bmmic.filters.detector import Detector, thresholds
from zv_jax.bmmic.pair import Pair
from zv_jax.bmmic.steps import filter as filter_step
from zv_jax.bmmic.steps import generate
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.errors import DataError


@dataclass(frozen=True)
class Item:
    """A pair to judge.

    Attributes:
      dropped: the filter that dropped it; empty where it was kept.
      verdicts: what each filter says of it by itself; those without complaint are missing.
      batch: pairs that were made by the same request, in order, itself among them.
    """

    pair: Pair
    dropped: str
    verdicts: Mapping[str, str]
    batch: tuple[Pair, ...]


def draw(config: Config, workdir: Path, count: int) -> list[Item]:
    """At most `count` pairs of a filtered run, in an order that mixes kept and dropped ones.

    The same run and seed give the same pairs. Filters and languages come in turn, so that rare
    complaints are seen too: the sample is no picture of how often they are.

    Raises:
      DataError: nothing was filtered yet. ConfigError: it was filtered with other thresholds.
    """
    dice = random.Random(f"audit/{config.seed}")
    groups: dict[bool, dict[tuple[str, ...], _Pile]] = {True: {}, False: {}}
    for pair, dropped in _judged(config, workdir):
        key = (dropped, pair.lang) if dropped else (pair.kind, pair.rewriting, pair.lang)
        groups[not dropped].setdefault(key, _Pile(count)).add(pair.id, dice)
    if not any(groups.values()):
        raise DataError(
            "nothing was filtered yet",
            where=str(workdir),
            expected="what `zv bmmic filter` writes",
            fix=f"zv bmmic filter --config ... --workdir {workdir}",
        )
    turns = {kept: list(_in_turn(found, dice)) for kept, found in groups.items()}
    bad = turns[False][: max(count // 2, count - len(turns[True]))]
    chosen = {*bad, *turns[True][: count - len(bad)]}
    items = list(_items(config, workdir, chosen))
    dice.shuffle(items)
    return items


class _Pile:
    """At most `most` of the ids that were added, each with the same chance."""

    def __init__(self, most: int):
        self.ids: list[str] = []
        self._most, self._seen = most, 0

    def add(self, name: str, dice: random.Random) -> None:
        """Takes an id, perhaps in the place of another one."""
        self._seen += 1
        if len(self.ids) < self._most:
            self.ids.append(name)
        elif (place := dice.randrange(self._seen)) < self._most:
            self.ids[place] = name


def _in_turn(groups: Mapping[tuple[str, ...], _Pile], dice: random.Random) -> Iterator[str]:
    """One of each group, then another of each, until all are there."""
    piles = [dice.sample(pile.ids, len(pile.ids)) for _, pile in sorted(groups.items())]
    while piles:
        for pile in piles:
            yield pile.pop()
        piles = [pile for pile in piles if pile]


def _judged(config: Config, workdir: Path) -> Iterator[tuple[Pair, str]]:
    """Every pair that was judged, with the filter that dropped it."""
    for name in filter_step.INPUTS:
        kept = Shards(workdir / "kept" / name)
        if kept.numbers():
            # With others the verdicts would be others.
            kept.begin("filter", thresholds(config.filters), "give the filters of the run")
        for number in kept.numbers():
            yield from ((pair, "") for pair in generate.read(kept, number))
            yield from _dropped(workdir, name, number)


def _dropped(workdir: Path, name: str, number: int) -> Iterator[tuple[Pair, str]]:
    for where, line in Shards(workdir / "dropped" / name).rows(number):
        row = json_input.parse(line, where)
        yield pairs.from_json(row["pair"], where), str(row["filter"])


def _items(config: Config, workdir: Path, chosen: set[str]) -> Iterator[Item]:
    """The chosen pairs; the detector sees all in the order of the run, since it compares them."""
    detector = Detector(config.filters)
    for name in filter_step.INPUTS:
        made = Shards(workdir / name)
        for number in Shards(workdir / "kept" / name).numbers():
            why = {pair.id: by for pair, by in _dropped(workdir, name, number)}
            shard = list(generate.read(made, number))
            batches = _batches(shard)
            for pair in shard:
                if pair.id in chosen:
                    verdicts = detector.every(pair)
                    batch = batches[str(pair.meta.get("request", ""))]
                    yield Item(pair, why.get(pair.id, ""), verdicts, tuple(batch))
                if pair.id not in why:
                    detector.remember([pair])


def _batches(shard: Iterable[Pair]) -> dict[str, list[Pair]]:
    found: dict[str, list[Pair]] = defaultdict(list)
    for pair in shard:
        found[str(pair.meta.get("request", ""))].append(pair)
    return found
