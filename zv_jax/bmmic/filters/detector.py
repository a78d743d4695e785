"""The detector: all filters, in order; a pair is dropped by the first one that complains."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from zv_jax.bmmic.filters import (
    bilingual,
    boxes,
    contamination,
    counts,
    duplicates,
    language,
    length,
    meta_talk,
    objects,
    rewriting,
    safety,
    schema,
    spatial,
)
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.pair import Pair

# In this order: what needs no view comes first, what compares pairs with each other last.
FILTERS: tuple[type[Filter], ...] = (
    schema.Schema,
    length.Length,
    meta_talk.MetaTalk,
    language.Language,
    boxes.Boxes,
    bilingual.Bilingual,
    objects.Objects,
    counts.Counts,
    spatial.Spatial,
    rewriting.Rewriting,
    safety.Safety,
    contamination.Contamination,
    duplicates.Duplicates,
)
NAMES = tuple(kind.name for kind in FILTERS)


@dataclass(frozen=True)
class Settings:
    """Thresholds of every filter, and which of them are off."""

    off: tuple[str, ...] = ()
    samples: int = 20  # of what each drops, per shard
    schema: schema.Settings = field(default_factory=schema.Settings)
    length: length.Settings = field(default_factory=length.Settings)
    meta_talk: meta_talk.Settings = field(default_factory=meta_talk.Settings)
    language: language.Settings = field(default_factory=language.Settings)
    boxes: boxes.Settings = field(default_factory=boxes.Settings)
    bilingual: bilingual.Settings = field(default_factory=bilingual.Settings)
    objects: objects.Settings = field(default_factory=objects.Settings)
    counts: counts.Settings = field(default_factory=counts.Settings)
    spatial: spatial.Settings = field(default_factory=spatial.Settings)
    rewriting: rewriting.Settings = field(default_factory=rewriting.Settings)
    safety: safety.Settings = field(default_factory=safety.Settings)
    contamination: contamination.Settings = field(default_factory=contamination.Settings)
    duplicates: duplicates.Settings = field(default_factory=duplicates.Settings)


@dataclass(frozen=True)
class Verdict:
    """Why a pair is dropped: the filter and its words. Both are empty for one that is kept."""

    filter: str = ""
    why: str = ""

    @property
    def kept(self) -> bool:
        """Whether no filter complained."""
        return not self.filter


class Detector:
    """Judges pairs in order.

    Raises:
      DataError: guard lists or questions that the settings name cannot be read.
    """

    def __init__(self, settings: Settings | None = None, **given: Any):
        """`given` goes to `contamination.Contamination`: guard lists and questions in memory."""
        self.settings = settings or Settings()
        self.filters: list[Filter] = []
        for kind in FILTERS:
            if kind.name not in self.settings.off:
                own = getattr(self.settings, kind.name)
                more = given if kind is contamination.Contamination else {}
                self.filters.append(kind(own, self.settings.samples, **more))

    def judge(self, pair: Pair) -> Verdict:
        """The verdict on a pair, which is remembered where it is kept."""
        for one in self.filters:
            why = one.judge(pair)
            if why is not None:
                return Verdict(one.name, why)
        self.remember([pair])
        return Verdict()

    def every(self, pair: Pair) -> dict[str, str]:
        """What each filter says by itself, {name: why}; nothing is remembered or counted."""
        found = {one.name: one.complaint(pair) for one in self.filters}
        return {name: why for name, why in found.items() if why is not None}

    def remember(self, pairs: Iterable[Pair]) -> None:
        """Takes note of pairs that were kept before, such as those of a finished shard."""
        for pair in pairs:
            for one in self.filters:
                one.remember(pair)

    def report(self) -> dict[str, Any]:
        """Counts and samples of each filter since the last call; counting begins anew."""
        found = {}
        for one in self.filters:
            found[one.name] = {**one.counts, "samples": one.samples}
            one.counts = type(one.counts)(seen=0, dropped=0)
            one.samples = []
        return found


def thresholds(settings: Settings) -> dict[str, Any]:
    """The settings as JSON."""
    return dataclasses.asdict(settings)
