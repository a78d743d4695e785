"""`zv eval compare A B`: what changed between two evaluations, and whether it is chance.

Both folders hold results.json and items.jsonl of the same suite. Numbers are only set beside each
other where they mean the same: the same metric and protocol on the same items.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from zv_jax.errors import DataError
from zv_jax.evaluation import statistics
from zv_jax.tables import align, rule

Key = tuple[str, str, str]  # task, language, metric
_HEADS = ("task", "", "metric", "A", "B", "B - A", "95 % interval", "p", "items")


def compare(first: str | Path, second: str | Path, seed: int = 0) -> list[dict[str, Any]]:
    """Every metric that both folders have: ``task, lang, metric`` and a `statistics.Difference`.

    A number that is no mean over items, such as an average precision, is left out.

    Raises:
      DataError: a file is missing or broken or holds a value that is no finite number, the folders
        share no metric, or a metric they share was measured by another protocol or on other items.
    """
    a, b = _scores(Path(first)), _scores(Path(second))
    shared = [key for key in a if key in b]
    if not shared:
        raise DataError(
            "the two evaluations have no metric in common",
            where=f"{first}, {second}",
            expected="two runs of one suite",
        )
    for key in shared:
        _same_measure(key, a[key], b[key], first, second)
    of_a, of_b = _items(Path(first)), _items(Path(second))
    for key in shared:
        if of_a[key].keys() != of_b[key].keys():
            raise DataError(
                f"{'/'.join(key)} has values of {len(of_a[key])} items in A and of "
                f"{len(of_b[key])} in B",
                where=f"items.jsonl of {first} and of {second}",
                expected="a line for every evaluated item in both",
                fix="run `zv eval` again with this --workdir",
            )
    shared = [key for key in shared if of_a[key]]
    return [
        dict(zip(("task", "lang", "metric"), key, strict=True))
        | asdict(statistics.paired_difference(of_a[key], of_b[key], seed))
        for key in shared
    ]


def render(rows: Sequence[Mapping[str, Any]]) -> str:
    """The comparison as a table for the terminal; a star marks intervals without 0."""
    table = [_HEADS]
    for row in rows:
        sure = "*" if row["low"] > 0 or row["high"] < 0 else " "
        table.append(
            (
                row["task"],
                row["lang"],
                row["metric"],
                f"{row['first']:.2f}",
                f"{row['second']:.2f}",
                f"{row['value']:+.2f}{sure}",
                f"[{row['low']:+.2f}, {row['high']:+.2f}]",
                f"{row['p']:.3f}",
                str(row["items"]),
            )
        )
    lines = align(table, "lllr")
    note = (
        "Paired bootstrap over items, 1000 draws.  *: the interval of the difference leaves 0 out."
    )
    return "\n".join([lines[0], rule(lines), *lines[1:], "", note])


def _same_measure(key: Key, a: Mapping, b: Mapping, first: object, second: object) -> None:
    for field, mend in (
        ("protocol", "evaluate both with one version of this program and one suite"),
        ("ids_sha256", "evaluate both on the same split with the same limits"),
    ):
        if a.get(field) != b.get(field):
            raise DataError(
                f"{'/'.join(key)} was measured in two ways: {field} differs",
                where=f"A {first}: {a.get(field)}\nB {second}: {b.get(field)}",
                expected=f"the same {field}",
                fix=mend,
            )


@contextlib.contextmanager
def _reading(file: Path) -> Iterator[None]:
    """What goes wrong while `file` is read, as one error that names it."""
    try:
        yield
    except OSError as error:
        raise _unreadable(file, "is missing") from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise _unreadable(file, "is broken") from error


def _scores(folder: Path) -> dict[Key, Mapping]:
    file = folder / "results.json"
    with _reading(file):
        scores = json.loads(file.read_text("utf-8"))["scores"]
        return {(s["task"], s["lang"], s["metric"]): s for s in scores}


def _items(folder: Path) -> dict[Key, dict[str, list[float]]]:
    file = folder / "items.jsonl"
    found: dict[Key, dict[str, list[float]]] = defaultdict(dict)
    with _reading(file):
        for number, line in enumerate(file.read_text("utf-8").split("\n"), 1):
            if not line:
                continue
            row = json.loads(line)
            if not row["values"] or not all(map(math.isfinite, row["values"])):
                raise DataError(
                    f"the values of {row['id']!r} are not all finite: {row['values']!r:.60}",
                    where=f"{file} line {number}, field values",
                    expected="finite numbers, at least one",
                    fix="run `zv eval` again with this --workdir",
                )
            found[row["task"], row["lang"], row["metric"]][row["id"]] = row["values"]
    return found


def _unreadable(file: Path, what: str) -> DataError:
    return DataError(
        f"{file.name} {what}",
        where=str(file),
        expected="the folder of a finished `zv eval`",
        fix="run `zv eval` again with this --workdir",
    )
