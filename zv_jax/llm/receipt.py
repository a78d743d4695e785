"""What was asked, answered and paid, by prompt pack: the sums of a ledger."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zv_jax.llm.prices import counted
from zv_jax.tables import align, rule


@dataclass
class Sums:
    """Sums over the requests of one prompt pack.

    Attributes:
        answered: requests with a reply. dollars, tokens: theirs.
        spoiled: replies that were paid for and held nothing; their cost is in the sums, too.
        lost: tries without a reply that the server may have charged for: time-outs, broken
            connections, what a kill cut off. at_most: dollars for these, at most.
        failed: requests that got no reply after all their tries, each time that happened.
    """

    answered: int = 0
    spoiled: int = 0
    lost: int = 0
    failed: int = 0
    tokens_in: int = 0
    tokens_cached: int = 0
    tokens_out: int = 0
    dollars: float = 0.0
    at_most: float = 0.0

    def pay(self, usage: Mapping[str, Any], dollars: float) -> None:
        """Adds what the server counted."""
        tokens = counted(usage)
        self.tokens_in += tokens.given
        self.tokens_cached += tokens.cached
        self.tokens_out += tokens.made
        self.dollars = round(self.dollars + dollars, 12)

    def lose(self, dollars: float) -> None:
        """Adds a try that may have been charged for."""
        self.lost += 1
        self.at_most = round(self.at_most + dollars, 12)


@dataclass
class Receipt:
    """The sums of one ledger, kept as its entries come.

    Attributes:
        packs: hash of the prompt pack ("" for none) -> its sums.
        open: key -> (pack, most dollars) of requests that were sent and have no outcome yet.
        batches: mark -> the last entry about it, of batches whose replies are still to come.
    """

    packs: dict[str, Sums] = field(default_factory=lambda: defaultdict(Sums))
    open: dict[str, tuple[str, float]] = field(default_factory=dict)
    batches: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, entry: Mapping[str, Any]) -> None:
        """Counts one entry of a ledger."""
        kind, pack = entry["kind"], entry.get("pack", "")
        if kind == "asked":
            self._lose_open(entry["key"])  # sent before, by a process that was killed
            self.open[entry["key"]] = (pack, entry["most"])
        elif kind == "answered":
            self.open.pop(entry["key"], None)
            self.packs[pack].answered += 1
            self.packs[pack].pay(entry["raw"].get("usage") or {}, entry["usd"])
        elif kind == "spoiled":
            self.packs[pack].spoiled += 1
            self.packs[pack].pay(entry["usage"], entry["usd"])
        elif kind == "lost":
            self.packs[pack].lose(entry["most"])
        elif kind == "withdrawn":
            self.open.pop(entry["key"], None)
        elif kind == "failed":
            self.open.pop(entry["key"], None)
            self.packs[pack].failed += 1
        elif kind == "batch":
            if entry["state"] == "ended":
                self.batches.pop(entry["mark"], None)
            else:
                self.batches[entry["mark"]] = dict(entry)

    def settled(self) -> Receipt:
        """The receipt of a ledger that nobody writes: what is open was cut off, and is lost."""
        for key in list(self.open):
            self._lose_open(key)
        return self

    @property
    def spent(self) -> float:
        """Dollars in all, with what may have been charged for."""
        return sum(sums.dollars + sums.at_most for sums in self.packs.values())

    def _lose_open(self, key: str) -> None:
        if key in self.open:
            pack, most = self.open.pop(key)
            self.packs[pack].lose(most)


def table(packs: Mapping[str, Sums]) -> list[str]:
    """The lines of a receipt, and below them their sum."""
    head = ("prompt pack", "answered", "spoiled", "tokens in", "cached", "tokens out", "dollars",
            "lost", "at most", "failed")  # fmt: skip
    rows = [_row(_named(pack), sums) for pack, sums in sorted(packs.items())]
    rows.append(_row("all", total(packs.values())))
    lines = align([head, *rows], "lr")
    bar = rule(lines)
    return [lines[0], bar, *lines[1:-1], bar, lines[-1]]


def total(parts: Iterable[Sums]) -> Sums:
    """The sum of several sums."""
    all_of_them = Sums()
    for part in parts:
        for name, value in vars(part).items():
            setattr(all_of_them, name, round(getattr(all_of_them, name) + value, 12))
    return all_of_them


def _named(pack: str) -> str:
    """A pack as a receipt shows it: `name@version:hash` with the beginning of the hash, or that."""
    label, mark, digest = pack.rpartition(":")
    return f"{label}{mark}{digest[:12]}" or "(none)"


def _row(name: str, sums: Sums) -> tuple[str, ...]:
    counts = (sums.answered, sums.spoiled, sums.tokens_in, sums.tokens_cached, sums.tokens_out)
    return (
        name,
        *(f"{count:,}" for count in counts),
        f"{sums.dollars:.6f}",
        f"{sums.lost:,}",
        f"{sums.at_most:.6f}",
        f"{sums.failed:,}",
    )
