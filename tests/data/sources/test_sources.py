import os
import pickle
import shutil

import pytest

from zv_jax.data.images.decode import ImageError
from zv_jax.data.records import record as records
from zv_jax.data.sources.open import open_source
from zv_jax.errors import ConfigError, DataError


def test_records_and_images_by_number(toy):
    source = open_source("jsonl", str(toy))
    everything = list(records.read_jsonl(toy))
    assert [source.record(i) for i in range(len(source))] == everything
    assert source.image(everything[-1].images[0]).size == (30, 20)
    parts = [max(1, sum(t.role == "assistant" for t in r.turns)) for r in everything]
    assert source.facts.parts.tolist() == parts


def test_a_folder_with_one_file_per_split_is_the_same_source(toy):
    one, two = open_source("jsonl", str(toy)), open_source("jsonl", str(toy.parent))
    assert one.fingerprint == two.fingerprint
    copy = pickle.loads(pickle.dumps(one))
    assert copy.record(3) == one.record(3)


def test_a_changed_file_is_read_again(toy):
    before = open_source("jsonl", str(toy))
    lines = toy.read_text(encoding="utf-8").splitlines()
    toy.write_text("\n".join(lines[:4]), encoding="utf-8")
    after = open_source("jsonl", str(toy))
    assert (len(before), len(after)) == (len(lines), 4)
    assert before.fingerprint != after.fingerprint


def test_other_splits_stay_out(toy):
    with toy.open("a", encoding="utf-8") as file:
        line = toy.read_text(encoding="utf-8").splitlines()[0]
        line = line.replace('"split": "train"', '"split": "val"')
        file.write(line.replace("toy/train/", "toy/val/") + "\n")
    total = len(open_source("jsonl", str(toy), ""))
    assert len(open_source("jsonl", str(toy), "train")) == total - 1
    assert len(open_source("jsonl", str(toy), "val")) == 1
    with pytest.raises(DataError, match="train, val"):
        open_source("jsonl", str(toy), "test")
    with toy.open("a", encoding="utf-8") as file:
        file.write("no record\n")  # of no split, so it does not make one of any
    with pytest.raises(DataError, match="train, val"):
        open_source("jsonl", str(toy), "test", tolerant=True)


def test_faults_are_located(toy, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'jsonl'"):
        open_source("json")
    with pytest.raises(DataError, match="none.jsonl"):
        open_source("jsonl", str(tmp_path / "none.jsonl"))
    with toy.open("a", encoding="utf-8") as file:
        file.write('{"id": "x", "split": "train", "task": "vqqa", "lang": "en"}\n')
    with pytest.raises(DataError, match=r"train\.jsonl:65"):
        open_source("jsonl", str(toy))


def test_an_image_that_is_not_there_is_an_image_error(toy):
    source = open_source("jsonl", str(toy))
    with pytest.raises(ImageError, match="9.png"):
        source.image(records.ImageRef(path="images/9.png"))
    with pytest.raises(ImageError, match="http"):
        source.image(records.ImageRef(url="http://x/y.png"))


def test_an_image_is_its_content_whatever_root_it_is_read_from(toy, tmp_path):
    """COCO beside a translated COCO: neither is a negative of the other."""
    other = tmp_path / "copy"
    shutil.copytree(toy.parent / "images", other / "images")
    shutil.copy(toy, other / "train.jsonl")
    one, two = open_source("jsonl", str(toy)), open_source("jsonl", str(other / "train.jsonl"))
    first, second = records.ImageRef(path="images/0.png"), records.ImageRef(path="images/1.png")
    same, another = (one.identified(ref)[0] for ref in (first, second))
    assert same == two.identified(first)[0] != another
    assert one.address(first) != two.address(first)
    named = records.ImageRef(path="images/0.png", sha1="ab")
    assert two.identified(named)[0] == "ab", "where a record knows it, it is that of the original"
    (other / "images" / "0.png").write_bytes((other / "images" / "1.png").read_bytes())
    assert two.identified(first)[0] == another, "the same path below another root"


def test_links_lead_to_one_address(toy, tmp_path):
    (tmp_path / "linked").symlink_to(toy.parent / "images")
    source = open_source("jsonl", str(toy))
    direct, linked = (records.ImageRef(path=f"{d}/0.png") for d in ("images", "linked"))
    assert source.address(direct) == source.address(linked)


@pytest.mark.parametrize("change", ["cut", "replaced in place"])
def test_a_record_file_that_changes_while_it_is_read_is_one_error(toy, change):
    """Read through a map of memory, a file cut short ends the process with a bus error."""
    source = open_source("jsonl", str(toy))
    before = toy.read_bytes()
    toy.write_bytes(b"" if change == "cut" else before.replace(b"toy", b"Toy"))
    os.utime(toy, (1, 1))
    with pytest.raises(DataError, match="changed while it was read") as caught:
        source.record(len(source) - 1)
    assert f"{toy}:" in caught.value.where


def test_a_record_file_that_is_renamed_over_stays_what_it_was(toy, tmp_path):
    source = open_source("jsonl", str(toy))
    before = source.line(0)
    (tmp_path / "new.jsonl").write_text("{}\n")
    (tmp_path / "new.jsonl").rename(toy)
    assert source.line(0) == before


def test_a_folder_says_which_splits_it_has_and_what_its_records_say(toy):
    for split in ("", "val"):
        with pytest.raises(DataError, match=f"no record of split '{split}'") as caught:
            open_source("jsonl", str(toy.parent), split)
        assert caught.value.where == str(toy.parent) and caught.value.expected == "one of train"
        assert "empty" not in caught.value.fix
    toy.rename(toy.with_name("val.jsonl"))
    with pytest.raises(DataError, match="no record of split 'val'") as caught:
        open_source("jsonl", str(toy.parent), "val")
    assert "the name of their file says another" in caught.value.fix
