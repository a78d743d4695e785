"""The commands that talk: chat reads lines; data counts and checks record files."""

import io
import json
import struct
import zlib

import pytest
from PIL import Image

from zv_jax.cli import chat as chat_command
from zv_jax.cli import main as cli
from zv_jax.errors import DataError


class Echo:
    """A Chat that answers with what it was asked and how many images came along."""

    made = 0

    def __init__(self):
        type(self).made += 1
        self.turns = 0

    def ask(self, question, images=()):
        self.turns += 1
        return f"{self.turns}: {question} ({len(images)})"


def converse(monkeypatch, capsys, text, images=()):
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    chat_command.converse(Echo, list(images))
    return capsys.readouterr()


def test_images_go_with_the_next_question_only(monkeypatch, capsys, tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    text = f"图里有什么？\n\nwhy?\n/image {tmp_path / 'a.png'}\nand here?\n"
    out = converse(monkeypatch, capsys, text, ["picture"]).out
    assert out.splitlines() == ["1: 图里有什么？ (1)", "2: why? (0)", "3: and here? (1)"]


def test_new_forgets_quit_leaves_and_mistakes_do_not_end_the_talk(monkeypatch, capsys):
    Echo.made = 0
    shown = converse(monkeypatch, capsys, "a\n/new\n/image no.png\n/what\nb\n/quit\nc\n", ["p"])
    assert shown.out.splitlines() == ["1: a (1)", "1: b (0)"]
    assert "no.png" in shown.err and "/image FILE" in shown.err
    assert Echo.made == 2


def test_an_image_that_cannot_be_used_does_not_end_the_talk(monkeypatch, capsys, tmp_path):
    header = struct.pack(">IIBBBBB", 20_000, 10_000, 8, 2, 0, 0, 0)
    chunk = (
        struct.pack(">I", 13) + b"IHDR" + header + struct.pack(">I", zlib.crc32(b"IHDR" + header))
    )
    (tmp_path / "a.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + b"\0\0\0\0IDAT\x35\xaf\x06\x1e")

    def ask(self, question, images=()):
        if question == "refuse":
            raise DataError("the images leave no room for text", where="prompt")
        return f"{question} ({len(images)})"

    monkeypatch.setattr(Echo, "ask", ask)
    shown = converse(monkeypatch, capsys, f"a\n/image {tmp_path / 'a.png'}\nb\nrefuse\nc\n", ["p"])
    assert shown.out.splitlines() == ["a (1)", "b (0)", "c (0)"]
    assert "pixels are too many" in shown.err and "no room" in shown.err
    flags = ["--checkpoint=x", "--prompt=y", f"--image={tmp_path / 'a.png'}"]
    assert cli.main(["generate", *flags]) != 0
    assert "pixels are too many" in capsys.readouterr().err


def test_a_file_that_is_no_image_is_named(tmp_path, capsys):
    (tmp_path / "a.png").write_text("no picture")
    flags = ["--checkpoint=x", "--prompt=y", f"--image={tmp_path / 'a.png'}"]
    assert cli.main(["generate", *flags]) == 2
    assert "a.png" in capsys.readouterr().err


def row(**changes):
    plain = {
        "id": "1",
        "source": "mine",
        "split": "train",
        "task": "vqa",
        "lang": "en",
        "images": [{"path": "a.png", "width": 4, "height": 4}],
        "turns": [
            {"role": "user", "text": "<image> What?"},
            {"role": "assistant", "text": "A dog."},
        ],
    }
    return json.dumps(plain | changes, ensure_ascii=False) + "\n"


@pytest.fixture
def records(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    return tmp_path / "mine.jsonl"


def test_validate_accepts_right_records_and_stats_counts_them(records, capsys):
    records.write_text(row() + row(id="2", lang="zh") + "\n" + row(id="3"))
    assert cli.main(["data", "validate", str(records)]) == 0
    assert "3 records are right" in capsys.readouterr().out
    assert cli.main(["data", "stats", str(records)]) == 0
    counted = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert counted == [
        ["train", "vqa", "en", "2"],
        ["train", "vqa", "zh", "1"],
        ["all", "3"],
    ]


def test_validate_names_every_wrong_line_and_fails(records, capsys):
    missing = row(images=[{"path": "b.png", "width": 4, "height": 4}])
    records.write_text(row() + row(task="vqaa") + "{\n" + missing)
    assert cli.main(["data", "validate", str(records)]) == 2
    out, err = capsys.readouterr()
    for number in (2, 3, 4):
        assert f"mine.jsonl:{number}" in out
    assert "1 records are right" in out and "3 records are wrong" in err


def test_validate_needs_files_that_exist(capsys):
    assert cli.main(["data", "validate"]) == 2
    assert cli.main(["data", "validate", "no.jsonl"]) == 2
    assert "no.jsonl" in capsys.readouterr().err


def test_one_mistake_in_many_records_is_printed_ten_times_and_counted(tmp_path, capsys):
    records = tmp_path / "mine.jsonl"
    row = {
        "source": "mine", "split": "train", "task": "caption", "lang": "en", "answers": ["a hat"],
    }  # fmt: skip
    rows = [row | {"id": f"mine/train/{n}", "images": [{"path": f"{n}.jpg"}]} for n in range(50)]
    records.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert cli.main(["data", "validate", str(records)]) == 2
    shown = capsys.readouterr()
    assert sum("9.jpg" in line or "0.jpg" in line for line in shown.out.splitlines()) <= 4
    assert "and 40 more: " in shown.out and "50 records are wrong" in shown.err
