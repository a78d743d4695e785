"""`zv chat` with a tiny real model: lines through a pipe, and a person at a terminal."""

import contextlib
import io
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import time
import zlib
from pathlib import Path

import pytest
from PIL import Image
from random_runs import TEXTS, random_run

from zv_jax.cli import main as cli
from zv_jax.cli.lines import Lines
from zv_jax.cli.talk import Talk
from zv_jax.data.text import tokenizers
from zv_jax.inference.chat import Chat
from zv_jax.inference.model import from_pretrained

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The workdir of a run with random weights, and room for very long answers."""
    tokenizer = tokenizers.train_sentencepiece(TEXTS, 400, tmp_path_factory.mktemp("words"))
    return random_run(tmp_path_factory.mktemp("run"), tokenizer, "stage2", "chat", positions=4096)


@pytest.fixture(scope="module")
def model(run):
    return from_pretrained(run)


@pytest.fixture
def images(tmp_path):
    paths = []
    for number, colour in enumerate(("red", "blue", "green")):
        paths.append(tmp_path / f"{number}.png")
        Image.new("RGB", (28, 28), colour).save(paths[-1])
    return paths


@pytest.fixture
def talk(model, monkeypatch, capsys):
    """`talk(text, *images)`: the conversation that these lines make, and what was printed."""

    def converse(text, *shown):
        monkeypatch.setattr("sys.stdin", io.StringIO(text))
        chat = Chat(model, max_new_tokens=6)
        Talk(chat, Lines(), list(shown)).run()
        return chat, capsys.readouterr()

    return converse


def asked(chat):
    return [(turn.question, turn.images) for turn in chat.history]


def test_images_go_with_the_next_question_only(talk, images):
    text = f"图里有什么？\n\nwhy?\n/image {images[1]}\n/image '{images[2]}'\nand here?\n"
    chat, printed = talk(text, images[0])
    assert asked(chat) == [("图里有什么？", (0,)), ("why?", ()), ("and here?", (1, 2))]
    assert printed.out == "".join(f"{turn.answer}\n" for turn in chat.history)
    assert f"image 2: {images[1]}" in printed.err and f"image 3: {images[2]}" in printed.err


def test_a_question_is_answered_again_or_put_otherwise(talk, images):
    chat, printed = talk("two\n/retry\n/edit three left\nwhere?\n/edit right?\n", images[0])
    assert asked(chat) == [("three left", (0,)), ("right?", ())]
    answers = printed.out.splitlines()
    assert len(answers) == 5 and answers[0] == answers[1]
    assert [answers[2], answers[4]] == [turn.answer for turn in chat.history]


def test_clear_forgets_and_quit_leaves(talk, images):
    chat, printed = talk("two\n/clear\nthree\n/quit\nfour\n", images[0])
    assert asked(chat) == [("three", ())] and len(printed.out.splitlines()) == 2


def test_mistakes_are_messages_and_do_not_end_the_talk(talk, images):
    lines = "/image no.png\n/what\n/retry\n/edit\n/image\n/load no.json\ntwo\n/edit\n/help\n"
    chat, printed = talk(lines, images[0])
    assert asked(chat) == [("two", (0,))]
    for words in ("no.png", "/what", "no question", "after /edit", "after /image", "no.json",
                  "/save FILE"):  # fmt: skip
        assert words in printed.err, words


def test_an_image_that_cannot_be_used_does_not_end_the_talk(talk, tmp_path, capsys):
    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    chunk = (
        struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT\x35\xaf\x06\x1e")
    chat, printed = talk(f"/image {tmp_path / 'a.png'}\nb\n")
    assert asked(chat) == [("b", ())] and "pixels are too many" in printed.err
    flags = ["--checkpoint=x", "--prompt=y", f"--image={tmp_path / 'a.png'}"]
    assert cli.main(["generate", *flags]) != 0
    assert "pixels are too many" in capsys.readouterr().err


def test_a_conversation_goes_to_a_file_and_on_from_it(talk, images, tmp_path):
    file = tmp_path / "talk.json"
    first, _ = talk(f"two\n/image {images[1]}\n图里有什么？\n/save {file}\n", images[0])
    assert json.loads(file.read_text("utf-8")) == {
        "format": "zv_jax conversation",
        "version": 1,
        "turns": [
            {"question": turn.question, "answer": turn.answer, "images": [image.name]}
            for turn, image in zip(first.history, images, strict=False)
        ],
    }
    later, _ = talk(f"/load {file}\nwhere?\n/save {file}\n")
    assert later.history[:2] == first.history and asked(later)[2] == ("where?", ())
    again, _ = talk(f"/load {file}\n")
    assert again.history == later.history


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"version": 2}, "version 2"),
        ({"format": "another"}, "another"),
        ({"turns": {}}, "turns"),
        ({"more": 1}, "'more' is unknown"),
        ({"turns": [{"question": "a", "answer": "b"}]}, "turns[0]"),
        ({"turns": [{"question": "a", "answer": None, "images": []}]}, "turns[0].answer"),
        ({"turns": [{"question": "a", "answer": "b", "images": [1]}]}, "turns[0].images"),
        ({"turns": [{"question": "a", "answer": "b", "images": ["no.png"]}]}, "no.png"),
    ],
)
def test_a_file_that_is_no_conversation_is_one_clear_error(talk, tmp_path, change, named):
    file = tmp_path / "talk.json"
    held = {"format": "zv_jax conversation", "version": 1, "turns": []} | change
    file.write_text(json.dumps(held))
    chat, printed = talk(f"two\n/load {file}\n")
    assert named in printed.err and printed.err.count("expected:") == 1
    assert asked(chat) == [("two", ())]


def test_the_program_speaks_the_language_of_its_user(talk, monkeypatch, capsys):
    monkeypatch.setenv("LC_ALL", "zh_CN.UTF-8")
    assert "没有命令 /x" in talk("/x\n")[1].err
    monkeypatch.setenv("ZV_LANG", "en")
    assert "unknown command /x" in talk("/x\n")[1].err
    monkeypatch.setenv("ZV_LANG", "fr")
    monkeypatch.setattr("sys.stdin", io.StringIO(""))
    assert cli.main(["chat", "--checkpoint=x"]) == 2
    assert "ZV_LANG is 'fr'" in capsys.readouterr().err


def _own_terminal():
    """Makes standard input the terminal of this process, whose Ctrl-C reaches it."""
    os.setsid()
    os.close(os.open(os.ttyname(0), os.O_RDWR))
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # shells ignore it in what they run behind


class Terminal:
    """A program in a terminal of its own; `screen` holds all that it has shown."""

    def __init__(self, *words, **environment):
        self._main, inner = pty.openpty()
        env = os.environ | {"PYTHONPATH": str(ROOT), "TERM": "xterm"} | environment
        self.program = subprocess.Popen(
            [sys.executable, "-m", "zv_jax", *words],
            stdin=inner, stdout=inner, stderr=inner, env=env,
            preexec_fn=_own_terminal,
        )  # fmt: skip
        os.close(inner)
        self.screen = ""

    def type(self, text):
        os.write(self._main, text.encode())

    def wait(self, pattern, seconds=120):
        """Waits until the screen shows `pattern` behind what earlier waits have seen."""
        end, seen = time.monotonic() + seconds, len(self.screen)
        data = b""
        while not re.search(pattern, data.decode(errors="replace")):
            ready, _, _ = select.select([self._main], [], [], end - time.monotonic())
            shown = self.screen + data.decode(errors="replace")
            assert ready, f"no {pattern!r} after {shown!r}"
            try:
                data += os.read(self._main, 4096)
            except OSError:  # the program has gone
                break
        self.screen += data.decode(errors="replace")
        return self.screen[seen:]

    def interrupt(self, pattern):
        """Ctrl-C, until the screen shows `pattern`, as `wait`.

        Python notices one that comes between two keys only with the next key.
        """
        for _ in range(10):
            self.type("\x03")
            with contextlib.suppress(AssertionError):
                return self.wait(pattern, seconds=10)
        return self.wait(pattern, seconds=10)


@pytest.fixture
def terminal():
    """`terminal(*words, **environment)`: a `Terminal`, whose program ends with the test."""
    with contextlib.ExitStack() as opened:

        def start(*words, **environment):
            made = Terminal(*words, **environment)
            opened.callback(made.program.kill)
            return made

        yield start


def test_a_person_at_a_terminal(terminal, run, images, tmp_path):
    flags = ["--checkpoint", str(run), "--image", str(images[0])]
    flags += ["--min_new_tokens=3000", "--max_new_tokens=3000"]
    person = terminal("chat", *flags, LC_ALL="C.UTF-8", ZV_LANG="zh", ZV_CACHE=str(tmp_path))
    person.wait("请用中文或英文提问.*\n.*> $")
    person.type("图里有什么呢\x7f？\r")
    # One backspace takes back one wide character: two cells. Then the answer begins.
    person.wait("呢\x08\x08\x1b\\[K？\r*\n.")
    person.type("\x03")  # an answer of 3000 tokens ends here, the program does not
    assert "已停止" in person.wait("> $")
    person.type("half a line")
    person.wait("half a line$")  # from here on Ctrl-C meets a program that waits for keys
    person.interrupt("> $")  # a line that is given up
    person.type("\x1b[A")  # the line before it
    person.wait("图里有什么？")
    person.interrupt("> $")
    person.type("/help\r")
    assert "重新回答上一个问题" in person.wait("> $")
    person.type("\x04")
    assert person.program.wait(60) == 0
    history = tmp_path / "chat_history"
    assert "图里有什么？" in history.read_text("utf-8")
    assert history.stat().st_mode & 0o777 == 0o600
