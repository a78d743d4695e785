"""One row for everything that is measured, and the one table that shows all of them.

A row compares what we need for one thing, in each round, with what something else needs for it.
Seconds and bytes only, so that less is better in every row and a ratio below 1 is in our favour.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from zv_jax.files import append_rows
from zv_jax.tables import align

HEAD = (
    "part", "case", "beside", "ours", "theirs", "ratio", "by round", "FLOPs counted",
    "compiled", "of the products", "of the reading", "note",
)  # fmt: skip
MIB = 1 << 20


@dataclass(frozen=True)
class Row:
    """One comparison.

    Attributes:
        part: of the suite, as "decode".
        case: what is done, as "8 rows, 5 beams, 64 tokens".
        beside: what else does it; "" where nothing does.
        ours, theirs: what it takes, one value for each round; empty where it failed, or where there
            is nothing to compare with.
        unit: of these values.
        counted: FLOPs of it by our own count; compiled: by that of the compiler's program.
        read: bytes that it has to read from memory at the least.
        note: why there are no figures, or what makes them special.
    """

    part: str
    case: str
    beside: str = ""
    ours: tuple[float, ...] = ()
    theirs: tuple[float, ...] = ()
    unit: Literal["s", "bytes"] = "s"
    counted: float | None = None
    compiled: float | None = None
    read: float | None = None
    note: str = ""

    @property
    def ratios(self) -> list[float]:
        """Ours over theirs, round by round; over the median of theirs where rounds differ."""
        if not (self.ours and self.theirs):
            return []
        if len(self.ours) == len(self.theirs):
            return [a / b for a, b in zip(self.ours, self.theirs, strict=True)]
        return [a / statistics.median(self.theirs) for a in self.ours]

    def share(self, peak: float, amount: float | None) -> float | None:
        """`amount` of work in our median time as a share of `peak` a second."""
        if not (self.ours and amount and peak and self.unit == "s"):
            return None
        return amount / statistics.median(self.ours) / peak


@dataclass(frozen=True)
class Peaks:
    """What this machine reaches at the best, measured: FLOP/s of products, bytes read a second."""

    flops: float = 0.0
    bandwidth: float = 0.0
    dtype: str = ""
    device: str = ""


def write(path: Path, kind: str, value: Any) -> None:
    """Appends one line: `kind` is "machine", "peaks", "row", "part" or "end"."""
    fields = dataclasses.asdict(value) if dataclasses.is_dataclass(value) else dict(value)
    append_rows(path, [{"kind": kind, **fields}])


def row(line: Mapping[str, Any]) -> Row:
    """The row of a line of kind "row"."""
    fields = {name: value for name, value in line.items() if name != "kind"}
    return Row(**fields | {"ours": tuple(fields["ours"]), "theirs": tuple(fields["theirs"])})


def peaks(lines: Iterable[Mapping[str, Any]]) -> Peaks:
    """The last peaks of a file; without any, shares of them are left out."""
    fields = [field.name for field in dataclasses.fields(Peaks)]
    measured = [line for line in lines if line["kind"] == "peaks"]
    return Peaks(**{name: measured[-1][name] for name in fields}) if measured else Peaks()


def rows(lines: Iterable[Mapping[str, Any]]) -> list[Row]:
    """All rows of a file."""
    return [row(line) for line in lines if line["kind"] == "row"]


def amount(value: float, unit: str) -> str:
    """A time or a size with its unit, three digits."""
    if unit == "bytes":
        return f"{value / MIB:,.0f} MiB"
    for factor, name in ((1, "s"), (1e-3, "ms")):
        if value >= factor:
            return f"{value / factor:.3g} {name}" if value < 1000 else f"{value:,.0f} s"
    return f"{value / 1e-6:.3g} us"


def cells(one: Row, best: Peaks) -> list[str]:
    """The row as text; what is not known is empty."""
    middle = lambda values: amount(statistics.median(values), one.unit) if values else ""
    ratios = one.ratios
    spread = [value / statistics.median(one.ours) for value in one.ours] if one.ours else []
    around = ratios or (spread if len(spread) > 1 else [])
    share = lambda value: "" if value is None else f"{value:.0%}"
    flops = lambda value: "" if value is None else f"{value:.3g}"
    return [
        one.part,
        one.case,
        one.beside,
        middle(one.ours),
        middle(one.theirs),
        f"{statistics.median(ratios):.2f}" if ratios else "",
        f"{min(around):.2f}-{max(around):.2f}" if around else "",
        flops(one.counted),
        flops(one.compiled),
        share(one.share(best.flops, one.counted)),
        share(one.share(best.bandwidth, one.read)),
        one.note,
    ]


def table(found: Iterable[Row], best: Peaks) -> str:
    """All rows as aligned text."""
    return "\n".join(align([HEAD, *(cells(one, best) for one in found)], "lllrrrrrrrrl"))
