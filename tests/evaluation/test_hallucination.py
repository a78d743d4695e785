"""POPE, CHAIR and Acc@0.5 of RefCOCO as tasks: from published files to scores."""

import dataclasses
import json

import numpy as np
import pytest
from benchmark_files import dump

from tests.data.readers import layouts
from zv_jax.errors import DataError
from zv_jax.evaluation import data as data_lib
from zv_jax.evaluation import task as task_lib
from zv_jax.evaluation.metrics import chair_scores
from zv_jax.evaluation.predict import item
from zv_jax.evaluation.predictions import Prediction
from zv_jax.evaluation.score import score


def scored(name, root, answers, expected):
    """Values of the task's measures for these answers, in the order of its records."""
    task = dataclasses.replace(task_lib.load(name), expected=expected)
    records = data_lib.from_files(task, root).records
    items = [item(task, record) for record in records]
    said = [Prediction(text) for text in answers]
    found = score(task, task.langs[0], items, said)
    return {m.metric: m.value for m in found.measures}, found, items


@pytest.fixture
def pope(tmp_path):
    rows = [
        {"question_id": n, "image": f"COCO_val2014_{n:012d}.jpg", "label": label,
         "text": f"Is there a {thing} in the image?"}
        for n, (thing, label) in enumerate(
            [("dog", "yes"), ("cat", "no"), ("car", "yes"), ("cup", "no")]
        )
    ]  # fmt: skip
    (tmp_path / "pope").mkdir()
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "pope/coco_pope_random.json").write_text(lines)
    return tmp_path


def test_pope_counts_yes_as_the_positive_class(pope):
    answers = ["Yes, there is.", "Yes.", "No, there is no car.", "There isn't a car."]
    values, found, items = scored("pope_random", pope, answers, 4)
    assert values["accuracy"] == 50 and values["yes_share"] == 50
    assert values["precision"] == 50 and values["recall"] == 50 and values["f1"] == 50
    assert values["accuracy_pope"] == 25  # its own reading takes the last one for a yes
    assert [mark["correct"] for mark in found.marks] == [True, False, False, True]
    f1 = next(m for m in found.measures if m.metric == "f1")
    assert f1.whole[0] <= 50 <= f1.whole[1]
    assert items[0].turns[0].question == "Question: Is there a dog in the image? Short Answer:"


def test_pope_without_a_single_yes_has_numbers_too(pope):
    values, _, _ = scored("pope_random", pope, ["No."] * 4, 4)
    assert values["accuracy"] == 50 and values["f1"] == values["precision"] == 0


def test_pope_with_another_label_is_refused(pope):
    file = pope / "pope/coco_pope_random.json"
    file.write_text(file.read_text().replace('"label": "no"', '"label": "maybe"', 1))
    with pytest.raises(DataError, match="the label is 'maybe'"):
        scored("pope_random", pope, ["No."] * 4, 4)


@pytest.fixture
def objects(tmp_path):
    images = [
        {"filepath": "val2014", "filename": f"COCO_val2014_{n:012d}.jpg", "cocoid": n,
         "split": "test", "sentences": [{"raw": text}]}
        for n, text in enumerate(["A dog beside a bench.", "Somebody outdoors."])
    ]  # fmt: skip
    dump(tmp_path / "coco_objects/dataset_coco.json", {"images": images})
    instances = {
        "categories": [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"image_id": 0, "category_id": 18},
            {"image_id": 1, "category_id": 1},
            {"image_id": 1, "category_id": 1},
        ],
    }
    dump(tmp_path / "coco_objects/annotations/instances_val2014.json", instances)
    return tmp_path


def test_chair_counts_what_is_neither_annotated_nor_in_a_reference(objects):
    answers = ["a dog on a bench", "a person with a cat and a cat"]
    values, found, items = scored("chair", objects, answers, 2)
    assert items[1].record.meta["objects"] == ["person"]
    assert values["chair_s"] == 50 and values["chair_i"] == 40  # 2 of 5 mentions
    assert [mark["correct"] for mark in found.marks] == [True, False]
    references = {i.id: i.references[-1] for i in items}
    there = {i.id: i.record.meta["objects"] for i in items}
    by_hand = chair_scores(dict(zip(there, answers, strict=True)), there, references, "en")
    assert values == {k: by_hand[k] for k in ("chair_s", "chair_i")}


def test_chair_of_chinese_captions_reads_english_references(objects):
    values, _, _ = scored("chair_zh", objects, ["长椅旁的一只狗", "一个人和一只猫"], 2)
    assert values["chair_s"] == 50 and values["chair_i"] == 25


def test_captions_without_any_object_have_no_share_of_mentions(objects):
    values, _, _ = scored("chair", objects, ["a nice view", "nothing"], 2)
    assert values == {"chair_s": 0}


def test_an_expression_of_refcoco_is_found_or_not(tmp_path):
    layouts.refcoco(tmp_path / "refcoco")
    task = dataclasses.replace(task_lib.load("refcoco_testa"), expected=2)
    data = data_lib.from_files(task, tmp_path)
    assert [r.task for r in data.records] == ["ref_ground"] * 2  # not the captions of regions
    (x0, y0, x1, y1) = data.records[0].objects[0].box
    answers = [f"[{x0:.3f},{y0:.3f},{x1:.3f},{y1:.3f}]", "it is on the left"]
    values, found, items = scored("refcoco_testa", tmp_path, answers, 2)
    assert values["acc@0.5"] == 50 and found.measures[0].unreadable == 1
    assert "man left" in items[0].turns[0].question
    assert np.isclose(values["mean_iou"], 50, atol=1)


def test_every_split_of_the_three_sets_has_its_published_size():
    sizes = {n: task_lib.load(n).expected for n in task_lib.names() if n.startswith("refcoco")}
    assert sizes == {
        "refcoco_val": 10834, "refcoco_testa": 5657, "refcoco_testb": 5095,
        "refcoco_plus_val": 10758, "refcoco_plus_testa": 5726, "refcoco_plus_testb": 4889,
        "refcocog_val": 4896, "refcocog_test": 9602,
    }  # fmt: skip
