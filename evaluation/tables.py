"""Scores as tables: beside their controls, and in the paper's Tables 4 to 8 with its rows.

A number on a part of a split stands there with its ``@n``; one on stand-ins says so in its row.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from importlib import resources
from typing import Any

import yaml

from zv_jax.evaluation.task import Task
from zv_jax.tables import align, display_width, rule

CONTROL_HEADS = {
    "untrained": "untrained",
    "shuffled_images": "shuffled",
    "most_frequent": "frequent",
    "chance": "chance",
}
LANG_HEADS = {"en": "English", "zh": "Chinese"}
_NOTE = """\
[ ]: 95 % bootstrap interval. Controls: untrained = same architecture, random weights; shuffled =
same model, other images; frequent = commonest training answer per question type; chance = blind
guess.  *: on a part of the items, see control_n in results.json.  n: judged units, or items/all
where a part of the split was evaluated. CIDEr scores are x 100, the others percentages."""

Table = dict[str, Any]


def render(scores: Sequence[dict[str, Any]], width: int | None = None) -> str:
    """The table as text; each row is a task's metric, each language a block of columns.

    Where that is wider than `width` characters, the languages follow each other instead.
    """
    lines = _lines(scores)
    if width is not None and max(map(display_width, lines)) > width:
        lines = []
        for lang in dict.fromkeys(s["lang"] for s in scores):
            lines += [*_lines([s for s in scores if s["lang"] == lang]), ""]
    return "\n".join([*lines, "", _NOTE, *unreadable(scores)])


def unreadable(scores: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each score with answers that could not be read."""
    return [
        f"{entry['task']} {entry['lang']} {entry['metric']}: {entry['unreadable']} of {entry['n']} "
        "answers could not be read and count as wrong"
        for entry in scores
        if entry.get("unreadable")
    ]


def _lines(scores: Sequence[dict[str, Any]]) -> list[str]:
    langs = list(dict.fromkeys(s["lang"] for s in scores))
    cells: dict[tuple[str, int], dict[str, dict]] = {}
    seen: dict[tuple[str, str], int] = {}
    for entry in scores:
        # The caption metric has another name in each language: rows go by position.
        at = seen.get((entry["task"], entry["lang"]), 0)
        seen[entry["task"], entry["lang"]] = at + 1
        cells.setdefault((entry["task"], at), {})[entry["lang"]] = entry
    head = ["", ""]
    for lang in langs:
        head += [LANG_HEADS.get(lang, lang), *CONTROL_HEADS.values(), "n"]
    rows, task_before = [head], None
    for (task, _), by_lang in sorted(cells.items(), key=lambda cell: _order(scores, cell[0])):
        names = " / ".join(dict.fromkeys(entry["metric"] for entry in by_lang.values()))
        row = [task if task != task_before else "", names]
        task_before = task
        for lang in langs:
            row += _block(by_lang.get(lang))
        rows.append(row)
    lines = align(rows, "llr")
    return [lines[0], rule(lines), *lines[1:]]


def _order(scores: Sequence[dict[str, Any]], key: tuple[str, int]) -> tuple[int, int]:
    tasks = list(dict.fromkeys(s["task"] for s in scores))
    return tasks.index(key[0]), key[1]


def _block(entry: dict[str, Any] | None) -> list[str]:
    if entry is None:
        return [""] * (len(CONTROL_HEADS) + 2)
    low, high = entry["interval"]
    cells = [f"{entry['value']:.1f} [{low:.1f}, {high:.1f}]"]
    for name in CONTROL_HEADS:
        value = entry["controls"].get(name)
        part = entry["control_n"].get(name, entry["n"]) < entry["n"]
        cells.append("-" if value is None else f"{value:.1f}" + ("*" if part else ""))
    items, expected = entry["items"], entry["items_expected"]
    return [*cells, str(entry["n"]) if items == expected else f"{items}/{expected}"]


def left_out(data: Mapping[str, Any] | None) -> Iterator[str]:
    """What of a source was not evaluated, as lines for people; none where everything was."""
    if data is None:
        return
    counts = data["left_out"]
    other = {"of other tasks": "other_tasks", "in other languages": "other_languages"}
    words = [f"{counts[key]:,} {name}" for name, key in other.items() if counts[key]]
    if words:
        yield f"not evaluated, of {counts['records']:,} records: {', '.join(words)}"
    for part in counts["parts"]:
        reasons = {"without an image": "no_image", "beyond the limit": "beyond_limit"}
        words = [f"{part[key]:,} {name}" for name, key in reasons.items() if part[key]]
        if words:
            of = f"{part['task']} {part['lang']}, of {part['records']:,} records"
            yield f"not evaluated, {of}: {', '.join(words)}"


@functools.cache
def paper() -> dict[int, dict[str, Any]]:
    """Title, columns and rows of each table, as the paper prints them."""
    text = resources.files("zv_jax.evaluation").joinpath("paper.yaml").read_text("utf-8")
    return yaml.safe_load(text)


def tables(
    scores: Sequence[Mapping[str, Any]], tasks: Sequence[Task], stand_in: bool
) -> list[Table]:
    """The tables that have a place for one of the tasks.

    Args:
      scores: Table 8 is there where they hold those of two models against each other.

    Returns:
      each ``number``, ``title``, ``columns`` and ``rows``: (name, cells), a cell being None, a
      ``text``, or a value with ``n`` where it is of a part. ``ours`` is how many of the last rows
      are ours; Table 4 has a column for it instead.
    """
    found = [_summary(scores, tasks), *_results(scores, tasks, stand_in), _pairs(scores, stand_in)]
    return [table for table in found if table is not None]


def _summary(scores: Sequence[Mapping[str, Any]], tasks: Sequence[Task]) -> Table | None:
    """Table 4: on which split and by which metric the paper and this run evaluate."""
    table = paper()[4]
    rows: list[Table] = []
    for name, printed in table["rows"].items():
        ours = [task for task in tasks if task.name in table["tasks"][name]]
        cells: list[Table | None] = [{"text": text} for text in printed]
        said = "; ".join(_evaluated(scores, task) for task in ours)
        rows.append({"name": name, "cells": [*cells, {"text": said} if said else None]})
    if all(row["cells"][-1] is None for row in rows):
        return None
    columns = [*table["columns"], "this run"]
    return {"number": 4, "title": table["title"], "columns": columns, "rows": rows, "ours": 0}


def _evaluated(scores: Sequence[Mapping[str, Any]], task: Task) -> str:
    """The split, how many items of it, and the headline metric, in words."""
    entry = next((s for s in scores if s["task"].rpartition(":")[2] == task.name), None)
    if entry is None:
        return f"{task.split}, not scored here"
    where = task.split if entry["task"] == task.name else "stand-ins"
    return f"{where}, {entry['items']}/{entry['items_expected']}, {entry['metric']}"


def _pairs(scores: Sequence[Mapping[str, Any]], stand_in: bool) -> Table | None:
    """Table 8: the judge's mean ratings of both models, who wins, and where the order decided."""
    values = {
        (s["lang"], s["metric"].partition("@")[0]): s
        for s in scores
        if s["task"] == "llava_bench_pairs"
    }
    if not values:
        return None
    table = paper()[8]

    def cells(*metrics: str) -> list[Table | None]:
        found = [values.get((lang, metric)) for lang in ("en", "zh") for metric in metrics]
        return [None if entry is None else _value(entry) for entry in found]

    rows = [{"name": name, "cells": _printed(row)} for name, row in table["rows"].items()]
    ours = {
        _own_name(stand_in): cells("rating", "win", "orders_disagree"),
        "the other model": cells("rating_of_the_other", "loss", "orders_disagree"),
    }
    rows += [{"name": name, "cells": row} for name, row in ours.items()]
    facts = {key: table[key] for key in ("title", "columns")}
    return {"number": 8, "rows": rows, "ours": len(ours)} | facts


def _own_name(stand_in: bool) -> str:
    return "this checkpoint, stand-in data" if stand_in else "this checkpoint"


def _printed(row: Sequence[float | None]) -> list[Table | None]:
    return [None if value is None else {"value": value} for value in row]


def _value(entry: Mapping[str, Any]) -> Table:
    partial = entry["items"] < entry["items_expected"]
    n = entry["items"] if partial else None
    return {"value": entry["value"], "n": n, "interval": entry["interval"]}


def _results(
    scores: Sequence[Mapping[str, Any]], tasks: Sequence[Task], stand_in: bool
) -> list[Table]:
    """Tables 5, 6 and 7: the paper's rows, and ours as the last."""
    ours: dict[str, dict[str, Any]] = {}
    for task in tasks:
        for metric, column in task.columns.items():
            entry = _find(scores, task, metric)
            if entry is not None:
                ours[column] = _value(entry)
    found = []
    for number, table in paper().items():
        if not any(task.table == number for task in tasks):
            continue
        rows = [{"name": name, "cells": _printed(row)} for name, row in table["rows"].items()]
        own = [ours.get(column) for column in table["columns"]]
        rows.append({"name": _own_name(stand_in), "cells": own})
        found.append(
            {
                "number": number,
                "title": table["title"],
                "columns": table["columns"],
                "rows": rows,
                "ours": 1,
            }
        )
    return found


def _find(scores: Sequence[Mapping[str, Any]], task: Task, metric: str) -> Mapping[str, Any] | None:
    names = {task.name, "llava_bench" if task.kind == "judged" else task.name}
    for entry in scores:
        of_task = entry["task"].rpartition(":")[2] in names and entry["lang"] in task.langs
        whole = entry["items"] == entry["items_expected"]
        name = entry["metric"] if whole else entry["metric"].rpartition("@")[0]
        if of_task and name == metric:
            return entry
    return None


def cell(value: Mapping[str, Any] | None) -> str:
    """A cell in words."""
    if value is None:
        return "-"
    if "text" in value:
        return str(value["text"])
    part = f" @{value['n']}" if value.get("n") else ""
    return f"{value['value']:.1f}{part}"


def terminal(found: Sequence[Table], notes: Mapping[str, str]) -> str:
    """All tables as aligned text."""
    blocks = []
    for table in found:
        grid = [["", *table["columns"]]]
        grid += [[row["name"], *map(cell, row["cells"])] for row in table["rows"]]
        lines = align(grid, "lr" if table["ours"] else "l")
        line = rule(lines)
        last = len(lines) - table["ours"]
        own = [line, *lines[last:]] if table["ours"] else []
        head = f"Table {table['number']}: {table['title']}"
        blocks.append("\n".join([head, lines[0], line, *lines[1:last], *own]))
    blocks += [f"{name}: {note}" for name, note in notes.items()]
    return "\n\n".join(blocks)


def markdown(found: Sequence[Table], notes: Mapping[str, str]) -> str:
    """All tables in Markdown; our rows are bold."""
    blocks = []
    for table in found:
        head = f"### Table {table['number']}: {table['title']}"
        lines = [
            "| | " + " | ".join(table["columns"]) + " |",
            "|---|" + ("---:|" if table["ours"] else "---|") * len(table["columns"]),
        ]
        last = len(table["rows"]) - table["ours"]
        for number, row in enumerate(table["rows"]):
            cells = [cell(value) for value in row["cells"]]
            name = row["name"]
            if number >= last:
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
