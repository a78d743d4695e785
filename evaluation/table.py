"""The scores as a table for the terminal, languages side by side as in the paper."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

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
same model, other pictures; frequent = commonest training answer per question type; chance = blind
guess.  *: on a part of the items, see control_n in results.json.  n: judged units, or items/all
where a part of the split was evaluated. CIDEr scores are x 100, the others percentages."""


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
