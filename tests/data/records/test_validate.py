"""Bad input of every kind: one clear error each, with file, line and field."""

import json
import os

import pytest
from PIL import Image

from zv_jax import json_input
from zv_jax.data.images import addresses as image_store
from zv_jax.data.records.record import ImageRef
from zv_jax.data.records.validate import check_file
from zv_jax.data.sources.open import open_source
from zv_jax.errors import DataError

GOOD = {
    "id": "mine/train/0",
    "source": "mine",
    "split": "train",
    "task": "vqa",
    "lang": "zh",
    "images": [{"path": "photos/a.png", "width": 6, "height": 4}],
    "turns": [{"role": "user", "text": "这是什么？"}, {"role": "assistant", "text": "一只狗"}],
}


def line(number=0, **changes):
    row = GOOD | {"id": f"mine/train/{number}"} | changes
    return json.dumps(row, ensure_ascii=False).encode()


@pytest.fixture
def write(tmp_path):
    """`write(line, ...)` writes a record file beside a folder with one image."""
    (tmp_path / "photos").mkdir()
    Image.new("RGB", (6, 4)).save(tmp_path / "photos" / "a.png")

    def write(*rows):
        path = tmp_path / "mine.jsonl"
        path.write_bytes(b"\n".join(rows) + b"\n")
        return path

    return write


def found(path, **options):
    """{line: text of the errors} of the wrong json_input."""
    checked = check_file(path, **options)
    return {number: "\n".join(map(str, errors)) for number, errors in checked if errors}


def image(path, **size):
    return [{"path": path, **size}]


BAD = {
    "torn line": (line(1)[:40], "Not JSON", "one JSON object per line"),
    "wrong encoding": (
        json.dumps(GOOD, ensure_ascii=False).encode("gb18030"),
        "Not UTF-8",
        "iconv -f GB18030",
    ),
    "box outside": (
        line(1, objects=[{"box": [10, 10, 200, 100], "label": "狗"}]),
        "'objects[0].box'",
        "divided by the image's width",
    ),
    "empty answer": (
        line(1, turns=[{"role": "assistant", "text": "  "}]),
        "'turns[0].text'",
        "not blank",
    ),
    "empty reference": (line(1, answers=["dog", ""]), "'answers[1]'", "not blank"),
    "duplicate id": (line(0), "'mine/train/0' is taken", "mine.jsonl:1"),
    "unknown field": (line(1, anwsers=["狗"]), "'anwsers'", "did you mean 'answers'"),
    "missing picture": (line(1, images=image("photos/b.png")), "photos/b.png", "not there"),
    "folder as picture": (line(1, images=image("photos")), "'images[0]'", "no file"),
    "path out of the root": (
        line(1, images=image("../../etc/passwd")),
        "outside the image root",
        "image_root",
    ),
    "absolute path": (
        line(1, images=image("/etc/passwd")),
        "'images[0]'",
        "outside the image root",
    ),
    "not an object": (b"[1, 2]", "'record'", "a JSON object"),
}


@pytest.mark.parametrize("kind", BAD)
def test_each_kind_of_mistake_is_located_and_explained(write, kind):
    bad, *said = BAD[kind]
    path = write(line(0), b"", bad, line(2))
    errors = found(path)
    assert list(errors) == [3], "the good lines around it are accepted"
    assert f"{path}:3" in errors[3]
    for words in said:
        assert words in errors[3]


def test_all_mistakes_are_reported_not_the_first_only(write):
    errors = found(write(*(bad for bad, *_ in BAD.values()), line(0)))
    assert len(errors) == len(BAD)


def test_a_loop_of_symbolic_links_is_named(write, tmp_path):
    os.symlink("two.png", tmp_path / "photos" / "one.png")
    os.symlink("one.png", tmp_path / "photos" / "two.png")
    errors = found(write(line(1, images=image("photos/one.png"))))
    assert "loop of symbolic links" in errors[1]


def test_a_linked_folder_of_images_is_no_escape(write, tmp_path):
    os.symlink(tmp_path / "photos", tmp_path / "linked", target_is_directory=True)
    assert not found(write(line(1, images=image("linked/a.png"))), decode=True)


def test_a_line_without_end_is_refused_without_being_read(write, tmp_path, monkeypatch):
    monkeypatch.setattr(json_input, "MAX_LINE", 2000)
    path = write(line(0), b" " * 5000 + line(1))
    errors = found(path)
    assert "more than 2,000 bytes" in errors[0] and f"{path}:2" in errors[0]
    with pytest.raises(DataError, match="more than 2,000 bytes"):
        open_source("jsonl", str(path))


def test_a_sparse_file_of_three_gigabytes_costs_no_memory(tmp_path):
    path = tmp_path / "huge.jsonl"
    with path.open("wb") as file:
        file.truncate(3 * 2**30)
    ((_, (error,)),) = check_file(path)
    assert "huge.jsonl:1" in str(error)


def test_images_are_decoded_and_measured_on_request(write, tmp_path):
    (tmp_path / "photos" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nrest")
    path = write(
        line(0),
        line(1, images=image("photos/a.png", width=9, height=4)),
        line(2, images=image("photos/broken.png")),
    )
    assert not found(path)
    errors = found(path, decode=True)
    assert "6x4 pixels, not 9x4" in errors[2]
    assert "cannot be decoded" in errors[3]


def test_the_image_root_may_be_elsewhere(write, tmp_path):
    path = write(line(0, images=image("a.png")))
    assert found(path)
    root = tmp_path / "photos"
    assert not found(path, image_root=root)
    source = open_source("jsonl", str(path), "train", str(root))
    assert source.image(source.record(0).images[0]).size == (6, 4)
    inside = ImageRef(path=str(root / "a.png"))
    assert image_store.load(root, inside).size == (6, 4), "absolute, but below the root"


def test_a_path_out_of_the_root_stops_training_too(write):
    path = write(line(0, images=image("../secret.png")))
    source = open_source("jsonl", str(path))
    with pytest.raises(DataError, match="outside the image root"):
        source.image(source.record(0).images[0])
