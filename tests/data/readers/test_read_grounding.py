"""Box arithmetic and both directions of grounding on files in the public layout."""

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.readers import layouts
from zv_jax.data.public import catalogue
from zv_jax.data.readers.boxes import from_xywh, from_xyxy, from_yxyx
from zv_jax.data.text.dialogue import exchanges
from zv_jax.errors import DataError


def read(name, root, split="train"):
    return list(catalogue.read(name, root, split))


def by_end(records):
    return {r.id.rpartition("/")[2]: r for r in records}


def asked(record):
    return [(e.question, e.answer) for e in exchanges(record, box_decimals=3)]


def test_visual_genome_boxes_are_of_its_own_images(tmp_path):
    layouts.visual_genome(tmp_path)
    records = by_end(read("visual_genome", tmp_path))
    # Without area: left out; beyond the edge: cut off.
    assert list(records) == [f"{k}#{way}" for k in (1382, 1383, 9) for way in ("ground", "caption")]
    clock = records["1382#ground"]
    assert clock.objects[0].box == (0.5, 0.5, 0.75, 0.75)
    assert clock.images[0].path == "VG_100K_2/1.jpg" and clock.images[0].width == 800
    assert records["1383#ground"].objects[0].box == (0.875, 500 / 600, 1, 1)
    assert records["9#caption"].images[0].path == "VG_100K/5.jpg"
    ((question, answer),) = asked(clock)
    assert "the clock is green" in question and answer == "[0.500,0.500,0.750,0.750]"
    ((question, answer),) = asked(records["1382#caption"])
    assert "[0.500,0.500,0.750,0.750]" in question and answer == "the clock is green"
    assert clock.meta["coco_id"] == 42 and "coco_id" not in records["9#ground"].meta


def test_visual_genome_objects_call_their_sides_w_and_h(tmp_path):
    layouts.visual_genome(tmp_path)
    ground, caption = read("visual_genome", tmp_path, "objects")
    assert ground.objects[0].box == (0, 0, 0.5, 0.5) and ground.objects[0].label == "trees"
    assert caption.task == "ref_caption"


@pytest.mark.parametrize(
    ("name", "folder", "by", "splits"),
    [
        ("refcoco", "refcoco", "unc", ("train", "val", "testA", "testB")),
        ("refcoco_plus", "refcoco+", "unc", ("train", "val", "testA", "testB")),
        ("refcocog", "refcocog", "umd", ("train", "val", "test")),
    ],
)
def test_refcoco_is_one_pair_of_records_per_expression(tmp_path, name, folder, by, splits):
    layouts.refcoco(tmp_path, folder, by, splits)
    for number, split in enumerate(splits):
        records = by_end(read(name, tmp_path, split))
        ways = [f"{2 * number + k}#{way}" for k in (0, 1) for way in ("ground", "caption")]
        assert list(records) == ways
        record = records[ways[0]]
        assert record.objects[0].box == (0.1, 0.1, 0.6, 0.6)
        assert record.objects[0].label == "man left" and record.meta["raw"] == "Man LEFT!"
        # The file name in the refs has a number behind it; the image has none.
        assert record.images[0].path == f"train2014/COCO_train2014_{100 + number:012d}.jpg"
    with pytest.raises(DataError, match="'train2'"):
        read(name, tmp_path, "train2")


class Evil:
    def __reduce__(self):
        return print, ("run!",)


def test_a_pickle_that_would_run_a_program_is_refused(tmp_path, capsys):
    layouts.refcoco(tmp_path)
    (tmp_path / "refcoco" / "refs(unc).p").write_bytes(pickle.dumps([Evil()]))
    with pytest.raises(DataError, match="no pickle of plain values"):
        read("refcoco", tmp_path)
    assert "run!" not in capsys.readouterr().out


def test_vcr_in_both_directions_and_as_choice(tmp_path):
    layouts.vcr(tmp_path)
    records = by_end(read("vcr", tmp_path))
    assert list(records) == ["train-0#choice", "train-0#caption", "train-0#ground"]
    first, second = "[0.000,0.000,0.500,0.500]", "[0.500,0.100,1.000,0.500]"
    ((question, answer),) = asked(records["train-0#caption"])
    assert question == f"Why is person 2 {second} pointing at person 1 {first}?"
    # The bottle has no area: it is named but has no box.
    assert answer == f"person 2 {second} is telling person 1 {first} and bottle 1's name."
    ((question, answer),) = asked(records["train-0#ground"])
    assert "person 2 is telling person 1 and bottle 1's name." in question
    assert answer == f"person 2 {second}; person 1 {first}"
    choice = records["train-0#choice"]
    ((question, answer),) = asked(choice)
    assert "(c) bottle 1 fell." in question and answer.startswith("person 2 ")
    (hidden,) = read("vcr", tmp_path, "test")
    assert hidden.answer_index is None and hidden.id == "vcr/test/test-0#choice"


@given(st.tuples(*[st.floats(-50, 150)] * 4), st.floats(1, 100), st.floats(1, 100))
def test_a_box_is_cut_to_the_image_or_left_out(corners, width, height):
    sides = (width, height, width, height)
    cut = [min(max(v / s, 0), 1) for v, s in zip(corners, sides, strict=True)]
    visible = cut[0] < cut[2] and cut[1] < cut[3]
    assert from_xyxy(corners, width, height) == (tuple(cut) if visible else None)


def test_conventions_agree_on_one_box():
    assert from_xyxy((20, 10, 120, 60), 200, 100) == from_xywh((20, 10, 100, 50), 200, 100)
    assert from_yxyx((0.1, 0.1, 0.6, 0.6)) == from_xyxy((20, 10, 120, 60), 200, 100)
    assert from_xyxy((0, 0, float("nan"), 1), 1, 1) is None
