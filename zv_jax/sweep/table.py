"""The result of a sweep: one row for each point, best first; terminal, CSV, HTML with curves."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import dataclass
from pathlib import Path

from zv_jax import json_input
from zv_jax.errors import DataError
from zv_jax.files import read_jsonl
from zv_jax.sweep.points import Point, Sweep, run_id, workdir
from zv_jax.tables import align
from zv_jax.training.trainer import RESULTS

COLOURS = ("#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#0891b2", "#be185d", "#4d7c0f")


@dataclass(frozen=True)
class Row:
    """One point: `state` is finished, running (begun), failed or waiting; `value` is None without
    results, and NaN where the results hold no finite number."""

    id: str
    point: Point
    state: str
    value: float | None
    seconds: float | None
    curve: list[tuple[float, float]]


def rows(sweep: Sweep, root: Path, failed: dict[str, str]) -> list[Row]:
    """Every point, the best first, those without a finite value last; `failed` names errors by
    run."""
    found = []
    for point in sweep.points:
        folder, name = workdir(root, point), run_id(point)
        metrics = read_jsonl(folder / "metrics.jsonl")
        results = read_results(folder)
        last = metrics[-1] if metrics else {}
        state = "finished" if results else "failed" if name in failed else "running"
        found.append(
            Row(
                name,
                point,
                state if results or metrics or name in failed else "waiting",
                _finite(results[sweep.metric]) if sweep.metric in (results or {}) else None,
                last.get("seconds"),
                [
                    (m["step"], m[sweep.metric])
                    for m in metrics
                    if math.isfinite(_finite(m.get(sweep.metric)))
                ],
            )
        )
    sign = 1 if sweep.goal == "min" else -1
    return sorted(found, key=lambda r: sign * r.value if _comparable(r) else math.inf)


def _finite(value: object) -> float:
    """A number from a file; NaN for what is none: null, text, infinity."""
    found = json_input.finite(value)
    return math.nan if found is None else found


def _comparable(row: Row) -> bool:
    return row.value is not None and math.isfinite(row.value)


def read_results(folder: Path) -> dict | None:
    """The results of a finished run; None for any other."""
    try:
        results = json_input.parse(
            (folder / RESULTS).read_bytes(), str(folder / RESULTS), strict=False
        )
    except (FileNotFoundError, DataError):
        return None
    return results if isinstance(results, dict) else None


def cells(sweep: Sweep, found: list[Row]) -> list[list[str]]:
    """Head and rows of the table, as text."""
    names = list(dict.fromkeys(name for row in found for name in row.point))
    head = ["run", *names, sweep.metric, "seconds", "state"]
    body = [
        [
            row.id,
            *(str(row.point.get(name, "")) for name in names),
            "" if row.value is None else f"{row.value:.6g}",
            "" if row.seconds is None else f"{row.seconds:.1f}",
            row.state,
        ]
        for row in found
    ]
    return [head, *body]


def text(sweep: Sweep, found: list[Row]) -> str:
    """The table for the terminal, with the best point named below.

    Where points are finished and none has a finite value, it says so: there is no best one.
    """
    out = align(cells(sweep, found))
    best = next(filter(_comparable, found), None)
    if best is None and any(row.state == "finished" for row in found):
        out += ["", f"best: none, since no finished run has a finite {sweep.metric!r}"]
    if best:
        changes = ", ".join(f"{k}={v}" for k, v in best.point.items())
        out += ["", f"best: {best.id} ({changes}): {sweep.metric} {best.value:.6g}"]
    return "\n".join(out)


def csv_text(sweep: Sweep, found: list[Row]) -> str:
    """The table as CSV."""
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(cells(sweep, found))
    return file.getvalue()


def html(sweep: Sweep, found: list[Row]) -> str:
    """One page that needs nothing else: curves of all runs, and the table below."""
    from zv_jax.html.charts import WIDE, Series, lines
    from zv_jax.html.markup import document, tag

    shown = [row for row in found if row.curve]
    styles = "".join(
        f".c{i} {{ stroke: {COLOURS[i % len(COLOURS)]}; color: {COLOURS[i % len(COLOURS)]}; }}"
        for i in range(len(shown))
    )
    chart = lines(
        [Series(f"c{i}", (row.id, row.id), row.curve) for i, row in enumerate(shown)],
        (f"{sweep.metric} over steps", f"{sweep.metric} 随步数的变化"),
        width=WIDE,
    )
    colour = {row.id: f"c{i}" for i, row in enumerate(shown)}
    head, *body = cells(sweep, found)
    table = tag(
        "table",
        tag("tr", *(tag("th", cell) for cell in head)),
        *(
            tag(
                "tr",
                tag("td", tag("b", "■ ", cls=colour.get(line[0])), line[0]),
                *(tag("td", cell) for cell in line[1:]),
            )
            for line in body
        ),
    )
    style = (
        "body { font: 15px system-ui, sans-serif; margin: 2em auto; max-width: 60em; }"
        "svg { width: 100%; } path { fill: none; }"
        ".raw { opacity: .25; } .mean { stroke-width: 2; }"
        "line { stroke: #ddd; } text { font-size: 9px; fill: #666; }"
        "td, th { padding: .2em .8em .2em 0; text-align: left; } " + styles
    )
    return document("sweep", tag("h1", sweep.config), chart, table, style=style)
