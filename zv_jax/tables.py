"""Aligned text tables for terminals: the only code of the project that aligns columns."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

GAP = "  "


def display_width(text: str) -> int:
    """Cells of a terminal that `text` takes: a Chinese character two, a combining mark none."""
    if text.isascii():
        return len(text)
    return sum(map(_cells, text))


def _cells(character: str) -> int:
    if unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def align(rows: Iterable[Sequence[str]], sides: str = "l", least: Sequence[int] = ()) -> list[str]:
    """The lines of a table, without spaces at their ends.

    Args:
        rows: cells as text, as many in each row; a head is a row like any other.
        sides: "l" (left) or "r" (right) for each column; the last letter serves all that follow,
            so that "lr" is a column of names before columns of numbers.
        least: widths that the first columns have at least, in cells of the terminal.
    """
    rows = [tuple(row) for row in rows]
    widths = [max(map(display_width, column)) for column in zip(*rows, strict=True)]
    for i, width in enumerate(least):
        widths[i] = max(widths[i], width)
    return [_line(row, widths, sides) for row in rows]


def rule(lines: Iterable[str]) -> str:
    """A line of dashes as wide as the widest of `lines`."""
    return "-" * max(map(display_width, lines))


def _line(row: Sequence[str], widths: Sequence[int], sides: str) -> str:
    cells = []
    for i, (cell, width) in enumerate(zip(row, widths, strict=True)):
        space = " " * (width - display_width(cell))
        cells.append(space + cell if sides[min(i, len(sides) - 1)] == "r" else cell + space)
    return GAP.join(cells).rstrip()
