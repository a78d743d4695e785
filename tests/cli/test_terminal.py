"""Foreign text never drives the terminal, and what is written for others keeps the umask."""

import io
import os
import pty
import sys

import pytest

from zv_jax.cli import main as cli
from zv_jax.cli import terminal
from zv_jax.files import write_atomic

TITLE = "\x1b]0;owned\x07"


@pytest.mark.parametrize(
    "text, shown",
    [
        (TITLE, "\\x1b]0;owned\\x07"),
        ("a\x9b2Jb\x7f\r", "a\\x9b2Jb\\x7f\\x0d"),
        ("一行\n\ttwo", "一行\n\ttwo"),
    ],
)
def test_control_characters_are_shown(text, shown):
    assert terminal.visible(text) == shown


def test_errors_show_what_a_file_name_holds(capsys):
    assert cli.main(["data", "validate", f"{TITLE}.jsonl"]) == 2
    shown = capsys.readouterr().err
    assert "\\x1b]0;owned" in shown and "\x1b" not in shown


def test_a_terminal_sees_them_and_a_file_gets_every_byte():
    reader, writer = pty.openpty()
    with open(writer, "w", encoding="utf-8") as stream:
        print(f"答案 {TITLE}", file=terminal.guarded(stream), flush=True)
        assert "\x1b" not in os.read(reader, 1000).decode()
    os.close(reader)
    file = io.StringIO()
    print(TITLE, end="", file=terminal.guarded(file))
    assert file.getvalue() == TITLE


def test_the_program_guards_its_output(monkeypatch):
    class Screen(io.StringIO):
        def isatty(self) -> bool:
            return True

    screen = Screen()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(sys, "argv", ["zv", "--version"])
    monkeypatch.setattr("zv_jax.__version__", TITLE)
    with pytest.raises(SystemExit) as ended:
        cli.run()
    assert ended.value.code == 0
    assert "\\x1b]0;owned" in screen.getvalue() and "\x1b" not in screen.getvalue()


@pytest.mark.parametrize("mask, mode", [(0o077, 0o600), (0o022, 0o644), (0o002, 0o664)])
def test_written_files_keep_the_umask(tmp_path, mask, mode):
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "文件.json", b"{}")
    finally:
        os.umask(before)
    assert (tmp_path / "文件.json").stat().st_mode & 0o777 == mode
    assert [path.name for path in tmp_path.iterdir()] == ["文件.json"]
