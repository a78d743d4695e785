"""docs/paper.md holds the paper against the code: what it names is there, in both languages."""

import ast
import re
from functools import cache
from pathlib import Path

import pages
import pytest

ROOT = Path(__file__).resolve().parents[2]
SPAN = re.compile(r"`([^`]+)`")
NOT_YET = {"docs/paper.md": "not yet: ", "docs/zh/paper.md": "尚未："}


def rows(page: str) -> list[list[str]]:
    """The cells of the table: paper, what it says, state, where, test."""
    lines = [line for line in pages.text(page).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[1:]]


@cache
def functions(path: str) -> set[str]:
    nodes = ast.parse((ROOT / path).read_text("utf-8")).body
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("page", NOT_YET)
def test_every_row_names_files_and_tests_that_exist(page):
    found = rows(page)
    assert len(found) > 30 and all(len(row) == 5 for row in found)
    for _, says, state, where, shown in found:
        for path in SPAN.findall(where):
            assert (ROOT / path).is_file(), f"{says}: {path}"
        for name in SPAN.findall(shown):
            path, _, test = name.partition("::")
            assert test in functions(path), f"{says}: {name}"
        done = not state.startswith(NOT_YET[page])
        assert bool(SPAN.findall(shown)) == done, (
            f"{says}: a test shows what is done, none the rest"
        )
        assert not done or SPAN.findall(where), f"{says}: in no file"


def test_both_languages_say_the_same_of_every_row():
    for english, chinese in zip(*map(rows, NOT_YET), strict=True):
        assert english[3:] == chinese[3:]
        pages_of_both = zip(NOT_YET.values(), (english, chinese), strict=True)
        assert len({row[2].startswith(mark) for mark, row in pages_of_both}) == 1
        assert re.findall(r"\d+", english[0]) == re.findall(r"\d+", chinese[0])
