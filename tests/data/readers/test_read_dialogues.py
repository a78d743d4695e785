"""Conversation readers on files in the public layout."""

import pytest

from tests.data.readers import layouts
from zv_jax.data.images import addresses as image_store
from zv_jax.data.public import catalogue
from zv_jax.data.text.dialogue import exchanges
from zv_jax.errors import DataError


def read(name, root, split="train", **options):
    return list(catalogue.read(name, root, split, **options))


def said(record):
    return [(e.question, e.answer, e.images) for e in exchanges(record, box_decimals=3)]


@pytest.mark.parametrize(
    ("split", "task"),
    [("conversation", "conversation"), ("detail", "detail"), ("complex_reasoning", "reason")],
)
def test_llava_strips_the_placeholder_and_drops_a_question_without_answer(tmp_path, split, task):
    layouts.llava(tmp_path)
    first, second = read("llava_instruct", tmp_path, split)
    assert first.task == task and first.id != second.id, "native ids repeat"
    assert said(first) == [("What is it?", "A dog.", (0,)), ("Where?", "On the grass.", ())]
    assert said(second) == [("Why?", "Because.", (0,))]
    assert first.images[0].path == "train2017/000000000042.jpg"


def test_llava_pretrain_and_its_translation(tmp_path):
    layouts.llava(tmp_path)
    (record,) = read("llava_pretrain", tmp_path)
    assert record.task == "caption"
    assert record.images[0].path == "images/GCC_train_002582585.jpg"
    layouts.llava_zh(tmp_path)
    (record,) = read("llava_zh", tmp_path)
    assert record.lang == "zh" and said(record) == [("图中有什么？", "狗。", (0,))]


def test_svit_boxes_in_the_text_become_objects(tmp_path):
    layouts.svit(tmp_path)
    first, second = read("svit", tmp_path, "referring_qa")
    assert [first.id, second.id] == ["svit/referring_qa/1#0", "svit/referring_qa/1#1"]
    assert first.turns[1].text == "It is man <obj_0> near x", "a box without area is dropped"
    assert said(first)[0][1] == "It is man [0.100,0.200,0.500,0.900] near x"
    assert first.images[0].path == "VG_100K_2/1.jpg"
    (tmp_path / "image_data.json").unlink()
    layouts.one_image(tmp_path / "VG_100K" / "1.jpg")
    assert read("svit", tmp_path, "referring_qa")[0].images[0].path == "VG_100K/1.jpg"


def test_svit_without_any_way_to_find_images_says_so(tmp_path):
    layouts.svit(tmp_path)
    (tmp_path / "image_data.json").unlink()
    with pytest.raises(DataError, match="image_data.json"):
        read("svit", tmp_path, "referring_qa")


def test_m3it_images_are_read_where_they_stand_and_overlaps_stay_out(tmp_path):
    layouts.m3it(tmp_path)
    records = read("m3it", tmp_path)
    assert [r.id for r in records] == [
        "m3it/train/fm-iqa/0",
        "m3it/train/shapes/0",
        "m3it/train/shapes/1",
    ]
    assert [r.lang for r in records] == ["zh", "en", "en"]
    two = records[2]
    assert said(two)[0][:2] == ("Answer the question.\nWhat colour?", "two")
    sizes = [image_store.load(tmp_path, ref).size for ref in two.images]
    assert sizes == [(4, 4), (5, 4)], "both pictures of the second line, in order"
    everything = read("m3it", tmp_path, paper_mixture=True)
    assert [r.task for r in everything].count("caption") == 1


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_llava_bench_and_its_chinese_twin(tmp_path, lang):
    if lang == "zh":
        layouts.llava_bench(tmp_path, "_zh", ("这是什么？", "一只狗。", "狗"))
    else:
        layouts.llava_bench(tmp_path)
    records = read("llava_bench" + ("_zh" if lang == "zh" else ""), tmp_path, "test")
    assert [r.task for r in records] == ["conversation", "detail", "reason"]
    record = records[0]
    assert record.lang == lang and record.translated_from == ("en" if lang == "zh" else None)
    assert record.images[0].path == "val2014/COCO_val2014_000000441147.jpg"
    assert record.turns[1].text in ("A dog.", "一只狗。")
    assert len(record.meta["captions"]) == 5 and record.meta["instances"][0]["bbox"]
