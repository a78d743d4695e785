"""The paper's Tables 5, 6 and 7 with a row of ours below, for the terminal, Markdown and JSON.

A number on a part of a split stands there with its ``@n``; one on stand-ins says so in its row.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from zv_jax.evaluation.benchmarks import spec
from zv_jax.tables import align, rule

Table = dict[str, Any]


@functools.cache
def paper() -> dict[int, dict[str, Any]]:
    """Title, columns and rows of each table, as the paper prints them."""
    text = resources.files("zv_jax.evaluation.benchmarks").joinpath("paper.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def tables(
    scores: Sequence[Mapping[str, Any]], benchmarks: Sequence[str], stand_in: bool
) -> list[Table]:
    """The tables that have a column of one of the benchmarks.

    Returns:
      each ``number``, ``title``, ``columns`` and ``rows``: (name, cells), a cell being None or a
      value with ``n`` where it is of a part; our row is the last.
    """
    wanted = [spec.load(name) for name in benchmarks]
    ours: dict[str, dict[str, Any]] = {}
    for benchmark in wanted:
        for metric, column in benchmark.columns.items():
            entry = _find(scores, benchmark, metric)
            if entry is not None:
                partial = entry["items"] < entry["items_expected"]
                ours[column] = {
                    "value": entry["value"],
                    "n": entry["items"] if partial else None,
                    "interval": entry["interval"],
                }
    found = []
    for number, table in paper().items():
        if not any(benchmark.table == number for benchmark in wanted):
            continue
        rows = [
            {"name": name, "cells": [None if v is None else {"value": v} for v in row]}
            for name, row in table["rows"].items()
        ]
        name = "this checkpoint, stand-in data" if stand_in else "this checkpoint"
        rows.append({"name": name, "cells": [ours.get(column) for column in table["columns"]]})
        found.append(
            {
                "number": number,
                "title": table["title"],
                "columns": table["columns"],
                "rows": rows,
            }
        )
    return found


def _find(
    scores: Sequence[Mapping[str, Any]], benchmark: spec.Benchmark, metric: str
) -> Mapping[str, Any] | None:
    names = {benchmark.name, "llava_bench" if benchmark.kind == "judged" else benchmark.name}
    for entry in scores:
        task = entry["task"].rpartition(":")[2]
        whole = entry["items"] == entry["items_expected"]
        name = entry["metric"] if whole else entry["metric"].rpartition("@")[0]
        if task in names and entry["lang"] == benchmark.lang and name == metric:
            return entry
    return None


def cell(value: Mapping[str, Any] | None) -> str:
    """A cell in words."""
    if value is None:
        return "-"
    part = f" @{value['n']}" if value.get("n") else ""
    return f"{value['value']:.1f}{part}"


def terminal(found: Sequence[Table], notes: Mapping[str, str]) -> str:
    """All tables as aligned text."""
    blocks = []
    for table in found:
        grid = [["", *table["columns"]]]
        grid += [[row["name"], *map(cell, row["cells"])] for row in table["rows"]]
        lines = align(grid, "lr")
        head = f"Table {table['number']}: {table['title']}"
        line = rule(lines)
        blocks.append("\n".join([head, lines[0], line, *lines[1:-1], line, lines[-1]]))
    blocks += [f"{name}: {note}" for name, note in notes.items()]
    return "\n\n".join(blocks)


def markdown(found: Sequence[Table], notes: Mapping[str, str]) -> str:
    """All tables in Markdown; our row is bold."""
    blocks = []
    for table in found:
        head = f"### Table {table['number']}: {table['title']}"
        lines = [
            "| | " + " | ".join(table["columns"]) + " |",
            "|---|" + "---:|" * len(table["columns"]),
        ]
        for row in table["rows"]:
            cells = [cell(value) for value in row["cells"]]
            name = row["name"]
            if row is table["rows"][-1]:
                name, cells = f"**{name}**", [f"**{text}**" for text in cells]
            lines.append(f"| {name} | " + " | ".join(cells) + " |")
        blocks.append("\n".join([head, "", *lines]))
    blocks += [f"- {name}: {note}" for name, note in notes.items()]
    return "\n\n".join(blocks) + "\n"


def protocols(scores: Sequence[Mapping[str, Any]]) -> str:
    """Every score with its interval, how many were evaluated, and its protocol."""
    lines = []
    for entry in scores:
        low, high = entry["interval"]
        unread = f", {entry['unreadable']} unreadable" if entry.get("unreadable") else ""
        lines += [
            f"{entry['task']} {entry['metric']}: {entry['value']:.2f} [{low:.2f}, {high:.2f}], "
            f"{entry['items']}/{entry['items_expected']} items{unread}",
            f"    {entry['protocol']}",
            f"    ids sha256 {entry['ids_sha256'][:16]}",
        ]
    return "\n".join(lines)
