"""Question readers on files in the public layout."""

import pytest

from tests.data.readers import layouts
from zv_jax.data.public import catalogue
from zv_jax.data.text.dialogue import exchanges, pick_answer
from zv_jax.errors import DataError


def read(name, root, split="train", **options):
    return list(catalogue.read(name, root, split, **options))


def test_vqav2_joins_by_question_and_keeps_all_ten_answers(tmp_path):
    layouts.vqav2(tmp_path)
    first, second = read("vqav2", tmp_path)
    assert first.id == "vqav2/train/9000"
    assert first.images[0].path == "train2014/COCO_train2014_000000000009.jpg"
    assert first.answers == ("yes",) * 7 + ("no",) * 3
    assert first.turns[0].text == "Is it a dog?" and second.turns[0].text == "What colour?"
    assert first.meta["question_type"] == "is it" and first.meta["answer_type"] == "yes/no"
    # A drawn answer is drawn as often as it was given.
    drawn = [pick_answer(first, 0, epoch) for epoch in range(2000)]
    assert abs(drawn.count("yes") / 2000 - 0.7) < 0.04


def test_vqav2_test_has_no_answers(tmp_path):
    layouts.vqav2(tmp_path)
    first, _ = read("vqav2", tmp_path, "test-dev")
    assert first.answers is None
    assert first.images[0].path == "test2015/COCO_test2015_000000000009.jpg"


def test_a_question_without_annotation_is_named(tmp_path):
    layouts.vqav2(tmp_path)
    layouts.dump(
        tmp_path / "v2_mscoco_train2014_annotations.json",
        {"annotations": [{"question_id": 1, "answers": []}]},
    )
    with pytest.raises(DataError, match="question 9000 has no annotation"):
        read("vqav2", tmp_path)


def test_okvqa_learns_words_and_is_scored_by_stems(tmp_path):
    layouts.vqav2(tmp_path, prefix="", answers=("poni tail", "braid"))
    assert read("okvqa", tmp_path)[0].answers[0] == "poni tail!"  # raw_answer of the fixture
    assert read("okvqa", tmp_path, "val")[0].answers[0] == "poni tail"


def test_vizwiz(tmp_path):
    layouts.vizwiz(tmp_path)
    (record,) = read("vizwiz", tmp_path)
    assert record.answers.count("unanswerable") == 3 and len(record.answers) == 10
    assert record.images[0].path == "train/VizWiz_train_00000000.jpg"
    assert record.meta["answerable"] == 1
    (hidden,) = read("vizwiz", tmp_path, "test")
    assert hidden.answers is None


def test_gqa_balanced_and_all_parts_with_or_without_groups(tmp_path):
    layouts.gqa(tmp_path)
    new, old = read("gqa", tmp_path, "train_balanced")
    assert new.answers == ("yes",) and new.images[0].path == "images/2354786.jpg"
    assert new.meta["full_answer"] == "Yes, the sky is dark."
    assert new.meta["question_type"] == "verify" and "question_type" not in old.meta
    assert len(read("gqa", tmp_path, "train_all")) == 2


def test_ocr_vqa_splits_are_told_apart(tmp_path):
    layouts.ocr_vqa(tmp_path)
    assert [len(read("ocr_vqa", tmp_path, s)) for s in ("train", "val", "test", "all")] == [
        2,
        2,
        2,
        6,
    ]
    first, second = read("ocr_vqa", tmp_path, "test")
    assert (first.id, first.answers) == ("ocr_vqa/test/0003#0", ("A. Nobody",))
    assert second.images[0].path == "images/0003.gif"


def test_textvqa_images_of_val_lie_with_those_of_train(tmp_path):
    layouts.textvqa(tmp_path)
    (record,) = read("textvqa", tmp_path, "val")
    assert record.images[0].path == "train_images/0054c91397f2fe05.jpg"
    assert record.answers.count("nokia") == 9 and record.meta["ocr_tokens"] == ["NOKIA"]


def test_clevr_below_its_own_folder(tmp_path):
    layouts.clevr(tmp_path)
    (record,) = read("clevr", tmp_path)
    assert record.images[0].path == "CLEVR_v1.0/images/train/CLEVR_train_000000.png"
    assert record.answers == ("3",) and record.meta["question_type"] == "count"
    (hidden,) = read("clevr", tmp_path, "test")
    assert hidden.answers is None


def test_scienceqa_only_questions_with_an_image(tmp_path):
    layouts.scienceqa(tmp_path)
    (record,) = read("scienceqa", tmp_path)
    assert record.images[0].path == "train/1/image.png"
    assert record.choices == ("Texas", "Maine") and record.answer_index == 1
    ((question, answer, _),) = (
        (e.question, e.answer, e.images) for e in exchanges(record, box_decimals=3)
    )
    assert record.meta["hint"] == "Look at the map." and "map" not in record.turns[0].text
    assert (
        question.startswith("Look at the map.\n") and "(b) Maine" in question and answer == "Maine"
    )


@pytest.mark.parametrize("name", ["vqav2_t", "gqa_t", "m3it_t", "llava_t", "bmmic"])
def test_translated_sets_are_records_of_ours(tmp_path, name):
    layouts.own_records(tmp_path, name)
    (record,) = read(name, tmp_path)
    assert (record.source, record.lang, record.translated_from) == (name, "zh", "en")
    assert len(record.answers) == 10
