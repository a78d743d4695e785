"""What every filter is: a class with a name, thresholds, a counter and samples of what it drops."""

from __future__ import annotations

from collections import Counter
from typing import Any, ClassVar

from zv_jax.bmmic.pair import Pair


class Filter:
    """Judges pairs one by one.

    Attributes:
      name: under which its thresholds, counts and samples are listed.
      settings: its thresholds, a frozen dataclass.
      counts: pairs `seen` and `dropped`.
      samples: the first that it dropped, as {"id", "why", "turns"}.
    """

    name: ClassVar[str]

    def __init__(self, settings: Any, samples: int = 20):
        self.settings = settings
        self.counts: Counter[str] = Counter(seen=0, dropped=0)
        self.samples: list[dict[str, Any]] = []
        self._most = samples

    def complaint(self, pair: Pair) -> str | None:
        """What is wrong with a pair, in a few words; None where nothing is."""
        raise NotImplementedError

    def remember(self, pair: Pair) -> None:
        """Takes note of a pair that was kept; only filters that compare pairs do."""

    def judge(self, pair: Pair) -> str | None:
        """`complaint`, counted."""
        why = self.complaint(pair)
        self.counts["seen"] += 1
        if why is not None:
            self.counts["dropped"] += 1
            if len(self.samples) < self._most:
                said = [[turn.role, turn.text] for turn in pair.turns]
                self.samples.append({"id": pair.id, "why": why, "turns": said})
        return why
