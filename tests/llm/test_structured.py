"""Structured replies are read strictly, else mended, else refused."""

import time

import pytest

from zv_jax.errors import DataError
from zv_jax.llm.structured import read, response_format

pytest.importorskip("json_repair")
PAIR = {"type": "object", "properties": {"q": {"type": "string"}, "a": {"type": "string"}},
        "required": ["q", "a"]}  # fmt: skip
ROWS = {"type": "array", "items": {"type": "object", "properties": {"i": {"type": "integer"}},
        "required": ["i"]}}  # fmt: skip


def test_sound_replies_are_taken_as_they_are():
    assert read('{"q": "x", "a": "一只猫"}', PAIR).value == {"q": "x", "a": "一只猫"}
    assert not read('[{"i": 1}]', ROWS).mended


@pytest.mark.parametrize(
    "text",
    [
        '```json\n{"q": "图", "a": "猫"}\n```',
        '好的，结果如下：{"q": "图", "a": "猫"} 希望有帮助。',
        'Sure! {"q": "图", "a": "猫",}\nHope it helps.',
        "{'q': '图', 'a': '猫'}",
        '{"q": "图" "a": "猫"}',
        "{“q”：“图”，“a”：“猫”}",
        '[0.1, 0.2] is the box: {"q": "图", "a": "猫"}',
        '{"q": "图", "a": "猫"}\n{"q": "other", "a": "second"}',
        '{"q": "图", "a": "猫"',
    ],
)
def test_what_models_put_around_json_or_break_in_it_is_mended(text):
    found = read(text, PAIR)
    assert found.value == {"q": "图", "a": "猫"} and found.mended


STRICT = {"type": "object", "properties": {"turns": {"type": "array", "items": {
    **PAIR, "additionalProperties": False}}}, "required": ["turns"],
    "additionalProperties": False}  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        '{"turns": [{"q": "图", "a": "猫", "explanation": "one of my own"}], "note": [1]}',
        'Sure: {"turns": [{"q": "图", "a": "猫", "b": {"c": 1}}]}',
        '{"turns": [{"q": "图", "a": "猫", "b": 1,}]',
    ],
)
def test_what_models_add_to_an_object_is_left_out(text):
    found = read(text, STRICT)
    assert found.value == {"turns": [{"q": "图", "a": "猫"}]} and found.mended


@pytest.mark.parametrize(
    "text",
    [
        '{"turns": [{"q": "one", "a": "1", "q": "two", "a": "2"}]}',
        'Sure: {"turns": [{"q": "one", "a": "1", "q": "two"}]}',
        '{"turns": [{"q": "one", "a": "1", "q": "two"',
        "{'turns': [{'q': 'one', 'a': '1', 'q': 'two'}]}",
        "{“turns”：[{“q”：“one”，“a”：“1”，“q”：“two”}]}",
    ],
)
def test_an_object_with_a_field_twice_is_refused_for_its_question_could_have_another_ones_answer(
    text,
):
    with pytest.raises(DataError):
        read(text, STRICT)


@pytest.mark.parametrize(
    "text",
    ["", "I cannot see it.", '{"q": 1, "a": "y"}', '["a"]', "{" * 100_000,
     '{"q": "\\ud800", "a": ""}', '{"q":"' + 'a"b' * 40_000, "null", "NaN"],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_what_does_not_fit_is_refused(text):
    with pytest.raises(DataError):
        read(text, PAIR)


@pytest.mark.parametrize("unit", ["]{", "}[", "[}", "{]", "}{", "]", "},{", '1"'])
def test_a_reply_of_brackets_alone_is_not_mended_for_minutes(unit):
    start = time.process_time()
    with pytest.raises(DataError):
        read("{" + unit * 15_000, PAIR)
    assert time.process_time() - start < 2


def test_a_request_asks_for_the_form():
    assert response_format("pair", PAIR)["json_schema"] == {
        "name": "pair",
        "schema": PAIR,
        "strict": True,
    }
