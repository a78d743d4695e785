"""The exported JSON Schema against the checks of `records.from_json`."""

import copy
import json

import jsonschema
import pytest
from hypothesis import given, settings

from tests.data import strategies
from zv_jax.cli import main as cli
from zv_jax.data.records import record as R
from zv_jax.data.records.schema import json_schema
from zv_jax.errors import DataError

VALIDATOR = jsonschema.Draft202012Validator(json_schema())


@settings(max_examples=60, deadline=None)
@given(strategies.records())
def test_every_record_survives_its_line_of_json_and_satisfies_the_schema(record):
    line = R.dumps(record)
    assert R.loads(line) == record
    VALIDATOR.validate(json.loads(line))


GOOD = {
    "id": "s/train/1",
    "source": "s",
    "split": "train",
    "task": "vqa",
    "lang": "zh",
    "images": [{"path": "a.jpg", "width": 4}],
    "turns": [{"role": "user", "text": ""}, {"role": "assistant", "text": "狗"}],
    "objects": [{"box": [0, 0, 0.5, 1], "label": "dog"}],
    "answers": ["狗"],
    "answer_index": None,
}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("task",), "vqaa"),
        (("lang",), "cn"),
        (("id",), " "),
        (("extra",), 1),
        (("images", 0, "path"), None),
        (("images", 0, "url"), "b.jpg"),
        (("images", 0, "width"), 0),
        (("images", 0, "width"), "4"),
        (("turns", 0, "role"), "human"),
        (("turns", 0, "text"), None),
        (("objects", 0, "box"), [0, 0, 4, 3]),
        (("objects", 0, "box"), [0, 0, 1]),
        (("objects", 0, "label"), ""),
        (("answers", 0), " \n"),
        (("answers",), "狗"),
        (("answer_index",), 0.5),
    ],
)
def test_what_the_schema_refuses_is_refused_on_reading(path, value):
    VALIDATOR.validate(GOOD)
    R.from_json(GOOD)
    data = copy.deepcopy(GOOD)
    node = data
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    assert not VALIDATOR.is_valid(data)
    with pytest.raises(DataError):
        R.from_json(data)


def test_the_schema_is_printed_by_the_command(capsys):
    assert cli.main(["data", "schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema()
