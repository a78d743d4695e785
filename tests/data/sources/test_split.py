"""`zv data split`: parts that share no image, the same ones whenever it is done again."""

import json

import pytest
from PIL import Image

from zv_jax.cli import main as cli


def row(number, images, **changes):
    return {
        "id": f"mine/train/{number}",
        "source": "mine",
        "split": "train",
        "task": "caption",
        "lang": "en",
        "images": [{"path": name} for name in images],
        "turns": [],
        "answers": [f"image {number}"],
    } | changes


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Forty records of twenty images, and a copy of one of them under another name."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    for n in range(20):
        Image.new("RGB", (2, 2), (n, 0, 0)).save(tmp_path / "photos" / f"{n}.png")
    Image.new("RGB", (2, 2), (7, 0, 0)).save(tmp_path / "photos" / "copy.png")
    rows = [row(n, [f"{n % 20}.png"]) for n in range(40)]
    rows[3]["images"] = [{"path": "3.png"}, {"path": "./4.png"}]
    rows[15]["images"] = [{"path": "copy.png"}]
    write(tmp_path, rows)
    return tmp_path


def write(folder, rows):
    (folder / "mine.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def split(out, *flags):
    words = ["data", "split", "mine.jsonl", "--image_root=photos", f"--out={out}", *flags]
    return cli.main(words)


def parts(folder):
    return {
        file.stem: [json.loads(line) for line in file.read_text().splitlines()]
        for file in folder.iterdir()
    }


def test_every_record_is_in_one_part_and_no_image_in_two(here, capsys):
    assert split("out") == 0
    found = parts(here / "out")
    assert {part: len(rows) for part, rows in found.items()} == {"train": 32, "val": 4, "test": 4}
    assert "in a recipe" in capsys.readouterr().out
    names = {
        part: {i["path"].removeprefix("./") for r in rows for i in r["images"]}
        for part, rows in found.items()
    }
    assert not names["train"] & names["val"] | names["train"] & names["test"]
    assert not names["val"] & names["test"]
    for together in ({"3.png", "4.png"}, {"7.png", "copy.png"}):
        assert sum(bool(shown & together) for shown in names.values()) == 1
    assert all(row["split"] == part for part, rows in found.items() for row in rows)


def test_the_seed_decides_and_not_the_order_of_the_file(here):
    assert split("a") == split("b", "--seed=1") == 0
    write(here, [json.loads(line) for line in (here / "mine.jsonl").open()][::-1])
    assert split("c") == 0
    ids = [{r["id"] for r in parts(here / name)["val"]} for name in "abc"]
    assert ids[0] == ids[2] != ids[1]


def test_a_share_of_nothing_leaves_its_part_out(here):
    assert split("out", "--test=0", "--val=0.5") == 0
    assert {part: len(rows) for part, rows in parts(here / "out").items()} == {
        "train": 20,
        "val": 20,
    }


@pytest.mark.parametrize(
    ("change", "flags", "says"),
    [
        ({}, ["--val=0.6", "--test=0.4"], "together below 1"),
        ({}, ["--val=0", "--test=0"], "--val"),
        ({"split": "other"}, [], "--split=other"),
        ({"images": [{"path": "none.png"}]}, [], "cannot be read"),
        ({"id": "mine/train/1"}, [], "is taken"),
        ({"source": "okvqa", "split": "val"}, ["--split=val"], "okvqa"),
    ],
)
def test_what_cannot_be_cut_is_refused_and_nothing_is_written(here, capsys, change, flags, says):
    rows = [json.loads(line) for line in (here / "mine.jsonl").open()]
    rows[0] |= change
    write(here, rows)
    before = set(here.iterdir())
    assert split("out", *flags) == 2
    assert says in capsys.readouterr().err
    assert set(here.iterdir()) == before


def test_old_parts_are_never_written_over_and_one_image_is_too_few(here, capsys):
    assert split("out") == 0
    assert split("out") == 2
    assert "already" in capsys.readouterr().err
    write(here, [row(n, ["1.png"]) for n in range(9)])
    assert split("other") == 2
    assert "leave none for" in capsys.readouterr().err
