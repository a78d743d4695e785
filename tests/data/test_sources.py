import pickle

import pytest

from zv_jax.data import records
from zv_jax.data.images import ImageError
from zv_jax.data.sources import open_source
from zv_jax.errors import ConfigError, DataError


def test_records_and_pictures_by_number(toy):
    source = open_source("jsonl", str(toy))
    everything = list(records.read_jsonl(toy))
    assert [source.record(i) for i in range(len(source))] == everything
    assert source.picture(everything[-1].images[0]).size == (30, 20)
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
        file.write(line.replace('"split": "train"', '"split": "val"') + "\n")
    total = len(open_source("jsonl", str(toy), ""))
    assert len(open_source("jsonl", str(toy), "train")) == total - 1
    assert len(open_source("jsonl", str(toy), "val")) == 1
    with pytest.raises(DataError, match="train, val"):
        open_source("jsonl", str(toy), "test")


def test_faults_are_located(toy, tmp_path):
    with pytest.raises(ConfigError, match="did you mean 'jsonl'"):
        open_source("json")
    with pytest.raises(DataError, match="none.jsonl"):
        open_source("jsonl", str(tmp_path / "none.jsonl"))
    with toy.open("a", encoding="utf-8") as file:
        file.write('{"id": "x", "split": "train", "task": "vqqa", "lang": "en"}\n')
    with pytest.raises(DataError, match=r"train\.jsonl:65"):
        open_source("jsonl", str(toy))


def test_a_picture_that_is_not_there_is_an_image_error(toy):
    source = open_source("jsonl", str(toy))
    with pytest.raises(ImageError, match="9.png"):
        source.picture(records.ImageRef(path="images/9.png"))
    with pytest.raises(ImageError, match="http"):
        source.picture(records.ImageRef(url="http://x/y.png"))
