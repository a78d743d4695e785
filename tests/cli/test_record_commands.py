"""The commands on records: they count and check record files."""

import json

import pytest
from PIL import Image

from zv_jax.cli import main as cli


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
