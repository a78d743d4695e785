"""What people decided on the page, and how far the filters agree with them: Cohen's kappa.

Cohen, A Coefficient of Agreement for Nominal Scales (1960): agreement beyond what two judges with
the same habits would reach by chance.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.bmmic.audit.run import FOLDER, ITEMS, digest
from zv_jax.bmmic.filters.detector import NAMES
from zv_jax.bmmic.view import LANGS
from zv_jax.errors import DataError
from zv_jax.files import write_json, writing
from zv_jax.tables import align

REPORT = "agreement.json"
CHOICES = {"accept": False, "reject": True}
ANY = "any"  # the whole detector


@dataclass(frozen=True)
class Table:
    """How often two judges reject: both, only the first (people), only the second, neither."""

    both: int = 0
    people: int = 0
    other: int = 0
    neither: int = 0

    @property
    def n(self) -> int:
        """Decisions that were compared."""
        return self.both + self.people + self.other + self.neither

    @property
    def kappa(self) -> float | None:
        """Cohen's kappa; None where chance alone would agree always, as where nobody rejects."""
        if not self.n:
            return None
        first, second = (self.both + self.people) / self.n, (self.both + self.other) / self.n
        chance = first * second + (1 - first) * (1 - second)
        if chance == 1:
            return None
        return ((self.both + self.neither) / self.n - chance) / (1 - chance)


def compare(verdicts: Iterable[tuple[bool, bool]]) -> Table:
    """The table of (people reject, the other rejects)."""
    counts = [0, 0, 0, 0]
    for people, other in verdicts:
        counts[(not people) * 2 + (not other)] += 1
    return Table(*counts)


@dataclass(frozen=True)
class Judge:
    """A person: a name, and by id whether a pair was rejected."""

    name: str
    rejects: Mapping[str, bool]


def report(workdir: Path, files: Sequence[Path]) -> dict[str, Any]:
    """Compares the decisions of one or several people with every filter, and with each other.

    Writes `audit/agreement.json`.

    Returns:
      {"people": {name: decisions}, "filters": rows of filter, language, counts and kappa,
      "between": rows of two people}.

    Raises:
      DataError: there is no page, a file is not of it, or the report cannot be written.
    """
    file = workdir / FOLDER / ITEMS
    if not file.is_file():
        raise DataError(
            "there is no page that was decided on",
            where=str(file),
            expected="what `zv bmmic audit` writes",
            fix=f"zv bmmic audit --config ... --workdir {workdir}",
        )
    data = file.read_bytes()
    rows = [json_input.parse(line, f"{file}:{n}") for n, line in json_input.numbered(file)]
    items = {row["id"]: row for row in rows}
    judges = list(_distinct(read(path, items.keys(), digest(data)) for path in files))
    filters = [
        _row(name, lang, _against(name, lang, items, judges))
        for name in (*NAMES, ANY)
        for lang in LANGS
    ]
    between = [
        {"people": [a.name, b.name]} | _counts(compare(_shared(a, b)))
        for a, b in itertools.combinations(judges, 2)
    ]
    people = {judge.name: len(judge.rejects) for judge in judges}
    found = {"items": len(items), "people": people, "filters": filters, "between": between}
    with writing("the report", workdir / FOLDER, "make room on the disk"):
        write_json(workdir / FOLDER / REPORT, found)
    return found


def read(path: Path, ids: Iterable[str], page: str) -> Judge:
    """The decisions in a file that the page gave.

    Raises:
      DataError: it cannot be read, is of another page, or holds an unknown id or decision.
    """
    if not path.is_file():
        raise _wrong("there is no such file", str(path))
    data = json_input.parse(path.read_bytes(), str(path))
    if not isinstance(data, dict) or not isinstance(data.get("decisions"), dict):
        raise _wrong("it holds no decisions", str(path))
    if data.get("audit") != page:
        raise _wrong(f"it is of another page ({data.get('audit')!r:.40})", str(path))
    known, rejects = set(ids), {}
    for name, choice in data["decisions"].items():
        if name not in known:
            raise _wrong(f"{name!r:.80} is no pair of the page", str(path))
        if not isinstance(choice, str) or choice not in CHOICES:
            raise _wrong(f"{choice!r:.40} is no decision", f"{path}, {name}")
        rejects[name] = CHOICES[choice]
    who = data.get("who")
    return Judge(who if isinstance(who, str) and who.strip() else path.stem, rejects)


def _wrong(what: str, where: str) -> DataError:
    return DataError(
        f"these are no decisions on this page: {what}",
        where=where,
        expected="the file that the page saves, of the page that is there now",
        fix="open audit/index.html and save the decisions again",
    )


def _distinct(judges: Iterable[Judge]) -> Iterator[Judge]:
    """Judges with names of their own."""
    seen: set[str] = set()
    for judge in judges:
        name, number = judge.name, 2
        while name in seen:
            name, number = f"{judge.name} {number}", number + 1
        seen.add(name)
        yield Judge(name, judge.rejects)


def _against(name: str, lang: str, items: Mapping[str, Any], judges: Sequence[Judge]) -> Table:
    """All decisions on pairs of a language against one filter, or against the whole detector."""

    def complains(row: Mapping[str, Any]) -> bool:
        return bool(row["dropped"]) if name == ANY else name in row["verdicts"]

    return compare(
        (rejected, complains(items[key]))
        for judge in judges
        for key, rejected in judge.rejects.items()
        if items[key]["lang"] == lang
    )


def _shared(one: Judge, other: Judge) -> Iterator[tuple[bool, bool]]:
    for key in sorted(one.rejects.keys() & other.rejects.keys()):
        yield one.rejects[key], other.rejects[key]


def _row(name: str, lang: str, table: Table) -> dict[str, Any]:
    return {"filter": name, "lang": lang} | _counts(table)


def _counts(table: Table) -> dict[str, Any]:
    kappa = table.kappa
    counts = {"n": table.n, "both": table.both, "people_only": table.people}
    counts |= {"other_only": table.other, "neither": table.neither}
    return counts | {"kappa": None if kappa is None else round(kappa, 4)}


def render(found: Mapping[str, Any]) -> str:
    """The report as aligned text."""
    head = ("filter", "lang", "decisions", "both reject", "people only", "filter only", "kappa")
    rows = [(row["filter"], row["lang"], *_cells(row)) for row in found["filters"]]
    lines = list(align([head, *rows], "llrrrrr"))
    for row in found["between"]:
        agree = row["both"] + row["neither"]
        kappa = _kappa(row["kappa"])
        lines.append(f"{' and '.join(row['people'])}: {agree} of {row['n']} alike, kappa {kappa}")
    return "\n".join(lines)


def _cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    names = ("n", "both", "people_only", "other_only")
    return (*(str(row[name]) for name in names), _kappa(row["kappa"]))


def _kappa(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
