import json
import pickle

import pytest

from zv_jax.data.records import record as R
from zv_jax.errors import DataError

GOOD = {
    "id": "s/train/1",
    "source": "s",
    "split": "train",
    "task": "ref_ground",
    "lang": "zh",
    "images": [{"path": "a.jpg", "width": 4, "height": 3}],
    "turns": [
        {"role": "user", "text": "<image>狗在哪里?"},
        {"role": "assistant", "text": "<obj_0>", "boxes": [[0]]},
    ],
    "objects": [{"box": [0, 0.25, 0.5, 1], "label": "dog"}],
    "answers": ["a", "b"],
    "weights": [0.3, 1],
    "choices": ["x", "y"],
    "answer_index": 1,
    "translated_from": "en",
    "meta": {"license": "CC0"},
}


def test_round_trip_through_a_line_of_json():
    record = R.from_json(GOOD, "f.jsonl:1")
    assert R.loads(R.dumps(record)) == record
    assert "狗" in R.dumps(record)
    assert record.objects[0].box == (0.0, 0.25, 0.5, 1.0)


def test_unset_fields_are_left_out():
    minimal = {k: GOOD[k] for k in ("id", "source", "split", "task", "lang", "images")}
    record = R.from_json({**minimal, "turns": []})
    assert set(R.to_json(record)) == {*minimal, "turns"}


@pytest.mark.parametrize(
    ("path", "value", "named"),
    [
        (("task",), "ref_gruond", "did you mean 'ref_ground'"),
        (("task",), None, "'task' is missing"),
        (("lang",), "cn", "'lang'"),
        (("tsak",), "vqa", "did you mean 'task'"),
        (("images",), "a.jpg", "'images'"),
        (("images", 0, "path"), None, "'images[0]'"),
        (("images", 0, "shard_key"), "k", "'images[0]'"),
        (("images", 0, "width"), 0, "'images[0].width'"),
        (("images", 0, "width"), True, "'images[0].width'"),
        (("turns", 1, "role"), "bot", "'turns[1].role'"),
        (("turns", 1, "text"), "<obj_1>", "'turns[1].text'"),
        (("turns", 1, "boxes"), [[3]], "'turns[1].boxes[0]'"),
        (("turns", 1, "text"), "<image>", "'turns'"),
        (("objects", 0, "box"), [0, 0, 40, 30], "divided by the image's width"),
        (("objects", 0, "box"), [0.5, 0, 0.5, 1], "'objects[0].box'"),
        (("objects", 0, "box"), [0, 0.7, 1, 0.6], "'objects[0].box'"),
        (("objects", 0, "box"), [0, 0, 1], "'objects[0].box'"),
        (("objects", 0, "box"), [0, 0, float("nan"), 1], "'objects[0].box'"),
        (("weights",), [1.0], "'weights'"),
        (("answers", 0), 3, "'answers[0]'"),
        (("answer_index",), 2, "'answer_index'"),
    ],
)
def test_a_wrong_field_is_named_with_its_file_and_line(path, value, named):
    data = json.loads(json.dumps(GOOD))
    node = data
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    with pytest.raises(DataError) as caught:
        R.from_json(data, "f.jsonl:7")
    assert named in str(caught.value)
    assert "f.jsonl:7" in str(caught.value)


def test_a_broken_line_of_a_file_is_located(tmp_path):
    path = tmp_path / "r.jsonl"
    path.write_text(json.dumps(GOOD) + "\n\n{oops\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"r\.jsonl:3"):
        list(R.read_jsonl(path))
    with pytest.raises(DataError, match="not found"):
        list(R.read_jsonl(tmp_path / "none.jsonl"))


def test_errors_survive_pickling_for_worker_processes():
    error = pickle.loads(pickle.dumps(DataError("what", "where", "expected", "fix")))
    assert str(error).splitlines()[0] == "what"
    assert (error.where, error.expected, error.fix) == ("where", "expected", "fix")
