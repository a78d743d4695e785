"""Progress bars move on terminals, and are lines in files."""

import io
import itertools

import pytest

from zv_jax.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """A clock that goes half a second on with every look at it."""
    ticks = itertools.count()
    monkeypatch.setattr("tqdm.std.time", lambda: next(ticks) / 2)
    return ticks


def test_a_file_gets_a_line_now_and_then_and_the_last_one(clock):
    file = io.StringIO()
    with progress_bar(file, desc="asked", total=500) as bar:
        for _ in range(500):
            bar.update()
    seconds = next(clock) / 2
    lines = file.getvalue().splitlines()
    assert 3 <= len(lines) <= seconds / 30 + 2
    assert "\r" not in file.getvalue() and all(line.startswith("asked") for line in lines)
    assert "0/500" in lines[0] and "500/500" in lines[-1]


def test_a_terminal_gets_a_bar_that_moves(clock):
    terminal = Terminal()
    with progress_bar(terminal, desc="asked", total=100) as bar:
        for _ in range(100):
            bar.update()
    assert terminal.getvalue().count("\r") > 20


def test_without_progress_there_is_nothing():
    file = io.StringIO()
    with progress_bar(file, total=3, disable=True) as bar:
        bar.update()
    assert not file.getvalue()
