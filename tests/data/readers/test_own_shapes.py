"""Rows of own tables in the shapes that other programs write, and what each becomes."""

import base64
import datetime
import decimal
import json
import math
import pathlib
import re

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.data.readers import layouts
from zv_jax.data.images import addresses as image_store
from zv_jax.data.public import catalogue
from zv_jax.data.readers import columns
from zv_jax.data.readers.intake import Intake
from zv_jax.data.text.dialogue import exchanges
from zv_jax.errors import DataError


def convert(folder, *rows, name="pairs_jsonl", **options):
    """The records of rows in JSON lines, and what became of the rows."""
    intake = Intake(0.01)
    path = layouts.lines(folder / "mine.jsonl", rows)
    return list(catalogue.read(name, path, intake=intake, **options)), intake


def one(folder, row, **options):
    (record,), intake = convert(folder, row, **options)
    assert not intake.unused
    return record


def refused(folder, *rows, **options):
    with pytest.raises(DataError) as caught:
        convert(folder, *rows, **options)
    return str(caught.value)


def paths(record):
    return [ref.path or ref.shard_key or ref.url for ref in record.images]


def said(record):
    return [(e.question, e.answer, e.images) for e in exchanges(record, box_decimals=3)]


def turns(*texts, roles=("user", "assistant"), keys=("role", "content")):
    return [{keys[0]: roles[number % 2], keys[1]: content} for number, content in enumerate(texts)]


# Images


@pytest.mark.parametrize(
    "column",
    ["image", "images", "photo", "Photos", "picture", "img", "image_path", "jpg", "file_name"]
    + ["图片", "图像", "照片", "圖片"],
)
@pytest.mark.parametrize(
    "value", ["红 色.png", ["红 色.png"], {"path": "红 色.png", "bytes": None}]
)
def test_images_are_found_under_their_usual_names(tmp_path, column, value):
    record = one(tmp_path, {column: value, "question": "多少？", "answer": "两个"})
    assert paths(record) == ["红 色.png"] and said(record) == [("多少？", "两个", (0,))]


def test_images_of_a_conversation_stay_where_their_placeholders_are(tmp_path):
    first = one(tmp_path, {"messages": turns("<image>What?", "Red."), "images": ["a.png"]})
    assert paths(first) == ["a.png"] and said(first) == [("What?", "Red.", (0,))]
    talk = turns("你好。", "你好！", "<image><image>哪个是蓝的？", "第二个。")
    second = one(tmp_path, {"messages": talk, "images": ["a.png", "b.png"]})
    assert said(second) == [("你好。", "你好！", ()), ("哪个是蓝的？", "第二个。", (0, 1))]
    later = one(
        tmp_path, {"messages": turns("Hi.", "Hello!", "<image>What?", "Red."), "image": "a"}
    )
    assert said(later) == [("Hi.", "Hello!", ()), ("What?", "Red.", (0,))]
    assert one(tmp_path, {"messages": turns("三加四？", "七。"), "images": []}).images == ()


def test_numbered_columns_are_images_in_natural_order(tmp_path):
    row = {f"image_{n}": f"{n}.png" for n in (1, 10, 2)} | {"question": "多少？", "answer": "三"}
    assert paths(one(tmp_path, row)) == ["1.png", "2.png", "10.png"]


def test_columns_may_name_several_images(tmp_path):
    row = {"left": "l.png", "right": "r.png", "caption": "two"}
    record = one(tmp_path, row, columns={"image": ["left", "right"]})
    assert paths(record) == ["l.png", "r.png"]
    assert "--columns=image=left" in refused(tmp_path, row)


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"image": "a.png", "image_2": "b.png"}, "image_2"),
        ({"image": "a.png", "video": "b.mp4"}, "video"),
        ({"image": 7}, "image"),
        ({"image": "a.png; b.JPG"}, "image"),
        ({"image": "a.png,b.png"}, "image"),
        ({"input": "a.png", "output": "a dog"}, "input"),
        ({"image": {"id": 7}}, "image"),
        ({"scan": "a.png"}, "scan"),
        ({"image": "a.png", "photo": "b.png"}, "photo"),
        ({"image": "a.png", "mask": "data:image/png;base64,iVBORw0KGgo="}, None),
    ],
)
def test_images_that_are_not_understood_are_refused_by_column(tmp_path, row, column):
    if column is None:  # another image beside one that is used: listed
        (record,), intake = convert(tmp_path, row | {"caption": "a"})
        assert paths(record) == ["a.png"] and intake.unused == {"mask": 1}
        return
    error = refused(tmp_path, row | {"caption": "a dog"})
    assert repr(column) in error and "mine.jsonl:1" in error
    (record,), _ = convert(tmp_path, row | {"caption": "a dog"}, ignore=[column])
    assert record.answers == ("a dog",)


def test_what_is_used_for_nothing_is_counted(tmp_path):
    rows = [
        {"image": "a.png", "caption": "一", "licence": "CC", "源": 3},
        {"caption": "b", "源": None},
    ]
    _, intake = convert(tmp_path, *rows)
    assert intake.unused == {"licence": 1, "源": 1}
    asked = {"question": "什么？", "answer": "猫", "caption": "一只猫"}
    assert convert(tmp_path, asked)[1].unused == {"caption": 1}
    talk = {"messages": turns("什么？", "猫"), "text": "c", "weights": [1]}
    assert convert(tmp_path, talk)[1].unused == {"text": 1, "weights": 1}
    _, intake = convert(tmp_path, *rows)
    assert "used for nothing: column 'licence', 1 rows have it" in intake.lines()


def test_images_written_into_json_lines_are_read_where_they_are(tmp_path):
    data = base64.b64encode(layouts.jpeg("red", (9, 5))).decode()
    url = f"data:image/jpeg;base64,{data}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": "什么？"}]
    source = {"type": "base64", "media_type": "image/jpeg", "data": data}
    rows = [
        {"messages": turns(parts, "红色。")},
        {"image": data, "caption": "a"},
        {"images": [url], "caption": "b"},
        {"messages": turns([{"type": "image", "source": source}, "什么？"], "红色。")},
    ]
    records, _ = convert(tmp_path, *rows)
    sizes = [image_store.load(tmp_path, ref).size for r in records for ref in r.images]
    assert sizes == [(9, 5)] * 4
    layouts.dump(tmp_path / "mine.json", rows)
    with pytest.raises(DataError, match="holds an encoded image at messages.0..content.0."):
        list(catalogue.read("llava_json", tmp_path / "mine.json"))


# Conversations


PARTS = [
    [{"type": "image"}, {"type": "text", "text": "什么颜色？"}],
    [{"type": "image", "image": "a.png"}, {"type": "text", "text": "什么颜色？"}],
    [{"type": "image", "url": "a.png"}, {"type": "text", "text": "什么颜色？"}],
    [{"type": "image", "path": "a.png"}, {"type": "text", "text": "什么颜色？"}],
    [{"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text", "text": "什么颜色？"}],
    [{"type": "input_image", "image_url": "a.png"}, {"type": "input_text", "text": "什么颜色？"}],
    [{"image": "a.png"}, {"text": "什么颜色？"}],
    [{"type": "image", "text": None, "image": "a.png"}, "什么颜色？"],
    "<img>a.png</img>什么颜色？",
    "<image>\n什么颜色？",
]


@pytest.mark.parametrize("content", PARTS)
def test_typed_parts_give_texts_and_images(tmp_path, content):
    bare = content in (PARTS[0], PARTS[-1])
    answer = [{"type": "text", "text": "红色。"}]
    row = {"messages": turns(content, answer)} | ({"image": "a.png"} if bare else {})
    record = one(tmp_path, row)
    assert paths(record) == ["a.png"] and said(record) == [("什么颜色？", "红色。", (0,))]


def test_an_image_named_beside_a_turn_is_shown_there(tmp_path):
    talk = turns("Hi.", "Hello.", "那这个呢？", "狗。")
    talk[2]["image"] = "b.png"
    record = one(tmp_path, {"conversations": talk})
    assert paths(record) == ["b.png"] and said(record)[1] == ("那这个呢？", "狗。", (0,))
    talk[0]["images"] = ["a.png"]
    record = one(tmp_path, {"conversations": talk, "images": ["a.png", "b.png"]})
    assert [e[2] for e in said(record)] == [(0,), (1,)], "named twice, shown once"


@pytest.mark.parametrize(
    "talk",
    [
        turns("什么？", "猫。", roles=("human", "gpt"), keys=("from", "value")),
        turns("什么？", "猫。"),
        turns("什么？", "猫。", roles=("用户", "助手")),
        [["什么？", "猫。"]],
        [{"user": "什么？", "assistant": "猫。"}],
        [{"question": "什么？", "answer": "猫。"}],
        {"from": ["human", "gpt"], "value": ["什么？", "猫。"]},
    ],
)
@pytest.mark.parametrize("column", ["conversations", "messages", "对话"])
def test_turns_of_any_usual_shape(tmp_path, talk, column):
    assert said(one(tmp_path, {column: talk, "image": "a.png"})) == [("什么？", "猫。", (0,))]


@pytest.mark.parametrize(
    ("talk", "says"),
    [
        (
            [{"role": "system", "content": "请用中文。"}, *turns("a", "b")],
            "'system' at messages[0]",
        ),
        ([{"role": "tool", "content": "{}"}, *turns("a", "b")], "a turn from 'tool'"),
        ([{"role": ["user"], "content": "a"}, *turns("a", "b")], "a turn from ["),
        (
            [{"role": "user", "content": [{"type": "video", "video": "a.mp4"}]}],
            "messages[0].content",
        ),
        ([{"role": "user", "content": {"a": 1}}], "messages[0].content"),
        ([*turns("a"), {"role": "assistant", "tool_calls": [{"id": 1}]}], "tool_calls"),
        ("什么？", "messages"),
        ([7], "messages[0]"),
    ],
)
def test_turns_that_are_not_understood_are_refused_by_place(tmp_path, talk, says):
    error = refused(tmp_path, {"messages": talk, "image": "a.png"})
    assert says in error and "'messages'" in error and "mine.jsonl:1" in error


def test_a_system_prompt_is_left_out_on_purpose_only(tmp_path):
    row = {"image": "a.png", "system": "Answer in capitals.", "query": "什么？", "response": "猫"}
    assert "--ignore=system" in refused(tmp_path, row)
    assert said(one(tmp_path, row, ignore=["system"])) == [("什么？", "猫", (0,))]
    talk = {"messages": [{"role": "system", "content": "x"}, *turns("a", "b")]}
    (record,), intake = convert(tmp_path, talk, ignore=["system"])
    assert said(record) == [("a", "b", ())] and intake.left_out["a system turn"] == 1
    empty = {"messages": [{"role": "system", "content": ""}, *turns("a", "b")], "system": None}
    assert said(one(tmp_path, empty)) == [("a", "b", ())]


def test_a_last_question_without_an_answer_is_counted(tmp_path):
    (record,), intake = convert(tmp_path, {"messages": turns("a", "b", "c")})
    assert said(record) == [("a", "b", ())]
    assert intake.left_out["a last question without an answer"] == 1
    record = one(tmp_path, {"messages": turns("a", "b", "c"), "answers": ["d", "e"]})
    assert record.answers == ("d", "e") and len(record.turns) == 3


# Questions and answers


def test_alpaca_rows_keep_instruction_and_input(tmp_path):
    row = {"instruction": "把句子翻译成中文。", "input": "A cat.", "output": "一只猫。"}
    assert said(one(tmp_path, row)) == [("把句子翻译成中文。\nA cat.", "一只猫。", ())]
    assert said(one(tmp_path, row | {"input": ""}))[0][0] == "把句子翻译成中文。"


def test_history_goes_before_the_question(tmp_path):
    row = {"image": "a.png", "query": "And its shape?", "response": "A square."}
    pairs = one(tmp_path, row | {"history": [["什么颜色？", "红色。"]]})
    assert said(pairs) == [("什么颜色？", "红色。", (0,)), ("And its shape?", "A square.", ())]
    talk = one(tmp_path, row | {"history": turns("什么颜色？", "红色。")})
    assert said(talk) == said(pairs)
    assert "'history'" in refused(tmp_path, row | {"history": "none"})


@pytest.mark.parametrize(
    ("options", "answer"),
    [
        (["blue", "red"], "B"),
        (["blue", "red"], "(b)"),
        (["blue", "red"], "B. red"),
        (["blue", "red"], "Red"),
        (["蓝", "红"], "红"),
        (["蓝", "红"], "（B）"),
        ({"A": "blue", "B": "red"}, "B"),
        ({"label": ["A", "B"], "text": ["blue", "red"]}, "B"),
        ("['blue', 'red']", "B"),
    ],
)
@pytest.mark.parametrize("column", ["options", "choices", "选项"])
def test_options_and_the_answer_among_them(tmp_path, column, options, answer):
    row = {"image": "a.png", "question": "什么颜色？", column: options, "answer": answer}
    (record,), _ = convert(tmp_path, row)
    assert (record.task, record.answer_index, len(record.choices)) == ("mc_vqa", 1, 2)


def test_options_in_columns_of_their_letters(tmp_path):
    row = {"question": "什么颜色？", "A": "蓝", "B": "红", "C": None, "答案": "B"}
    record = one(tmp_path, row)
    assert (record.choices, record.answer_index) == (("蓝", "红"), 1)


def test_an_answer_that_may_count_options_is_not_guessed(tmp_path):
    row = {"question": "Which?", "choices": ["cat", "dog"]}
    assert "--columns=answer_index=answer" in refused(tmp_path, row | {"answer": 1})
    assert "from 0, or from 1" in refused(tmp_path, row | {"choices": [0, 1], "answer": 1})
    assert one(tmp_path, row | {"answer": 1}, columns={"answer_index": "answer"}).answer_index == 1
    assert one(tmp_path, row | {"answer_index": 1}).answer_index == 1
    assert one(tmp_path, row | {"answer_index": 1, "answer": "B"}).answer_index == 1
    assert one(tmp_path, row | {"choices": ["1", "2"], "answer": "1"}).answer_index == 0
    _, intake = convert(tmp_path, row | {"answer_index": 1, "answer": "cat"}, row | {"answer": "A"})
    assert "names option 1, 'dog', and column 'answer' says 'cat'" in intake.bad[0].what
    _, intake = convert(tmp_path, row | {"answer": "D"}, row | {"answer": "A"})
    assert "'D' is not one of the options" in intake.bad[0].what


@pytest.mark.parametrize(
    ("answers", "found"),
    [
        ([{"answer": "red", "answer_confidence": "yes"}, {"answer": "红"}], ("red", "红")),
        ([{"text": "red"}, {"text": "红"}], ("red", "红")),
        ({"text": ["red", "红"]}, ("red", "红")),
        (["red", None, float("nan"), " ", "红"], ("red", "红")),
    ],
)
def test_answers_of_any_usual_shape(tmp_path, answers, found):
    row = {"image": "a.png", "question": "什么颜色？", "answers": answers}
    record = one(tmp_path, row)
    assert record.answers == found


def test_confidences_stay_with_their_answers(tmp_path):
    row = {"question": "Who?", "answers": [{"answer": "a", "confidence": 0.5}, {"answer": "b"}]}
    row["answers"][1]["confidence"] = 1
    assert one(tmp_path, row).weights == (0.5, 1.0)
    row["answers"][0] = {"answer": "a", "answer_confidence": "maybe"}
    assert one(tmp_path, row).meta["confidences"] == ["maybe", 1]


@pytest.mark.parametrize("answers", [[{"rating": 3}], {"rating": {"a": 3}}, [["red"], ["a", "b"]]])
def test_answers_that_are_not_understood_are_refused(tmp_path, answers):
    error = refused(tmp_path, {"question": "什么？", "answers": answers})
    assert "'answers'" in error and "mine.jsonl:1" in error and "--ignore=answers" in error


def test_two_columns_for_one_thing_are_not_chosen_from(tmp_path):
    row = {"question": "What?", "answer": "a", "output": "b"}
    assert "--columns=answer=answer" in refused(tmp_path, row)
    (record,), intake = convert(tmp_path, row, columns={"answer": "output"})
    assert said(record) == [("What?", "b", ())] and intake.unused == {"answer": 1}
    same = {"question": "What?", "answer": "a", "answers": ["a", "b"]}
    assert one(tmp_path, same).answers == ("a", "b")


def test_a_role_may_have_several_columns(tmp_path):
    row = {"c1": "一只猫", "c2": "a cat", "c3": None}
    record = one(tmp_path, row, columns={"caption": ["c1", "c2", "c3"]})
    assert record.answers == ("一只猫", "a cat")
    row = {"scene": "图里有猫。", "ask": "几只？", "reply": "一只"}
    columns = {"question": ["scene", "ask"], "answer": "reply"}
    assert said(one(tmp_path, row, columns=columns)) == [("图里有猫。\n几只？", "一只", ())]
    assert "'id' twice" in refused(tmp_path, row, columns={"id": ["scene", "ask"]})


@pytest.mark.parametrize(
    ("value", "text"), [(1, "1"), (0, "0"), (0.5, "0.5"), (True, "true"), ("None", "None")]
)
def test_single_values_as_text(tmp_path, value, text):
    record = one(tmp_path, {"image": "a.png", "question": "多少？", "answer": value})
    assert said(record)[0][1] == text


def test_objects_of_records_are_kept_and_others_refused(tmp_path):
    row = {"image": "a.png", "question": "Where is <obj_0>?", "answer": "There."}
    thing = {"box": [0.1, 0.2, 0.5, 0.6], "label": "狗"}
    assert one(tmp_path, row | {"objects": [thing]}).objects[0].label == "狗"
    pixels = {"bbox": [10, 20, 50, 60], "category": "狗"}
    assert "'objects'" in refused(tmp_path, row | {"objects": [pixels]})


@pytest.mark.parametrize(
    ("given", "lang"), [("zh-CN", "zh"), ("中文", "zh"), ("English", "en"), ("EN", "en")]
)
def test_languages_by_their_usual_names(tmp_path, given, lang):
    assert one(tmp_path, {"caption": "KTV", "language": given}).lang == lang
    (record,), intake = convert(tmp_path, {"caption": "一", "language": "?"})
    assert record.lang == "zh" and intake.unused == {"language": 1}


def test_rows_of_other_splits_stay_out(tmp_path):
    rows = [{"caption": "一", "split": "train"}, {"caption": "二", "split": "validation"}]
    (record,), intake = convert(tmp_path, *rows)
    assert record.answers == ("一",) and intake.other_splits == {"validation": 1}
    (record,), _ = convert(tmp_path, *rows, split="val")
    assert record.answers == ("二",)
    assert "train, validation" in refused(tmp_path, *rows, split="test")


# Bad rows


EMPTY = [
    {"image": "a.png", "caption": ""},
    {"image": "a.png", "caption": None},
    {"image": "a.png", "caption": float("nan")},
    {"image": "a.png", "question": "什么？", "answer": None},
    {"image": "a.png", "question": "什么？", "answers": [None, " "]},
    {"image": "a.png", "question": " ", "answer": "猫"},
    {"image": "a.png"},
    {"image": "a.png", "conversations": []},
    {"image": "a.png", "conversations": turns("什么？")},
    {"image": "a.png", "conversations": turns("什么？", " ")},
    {"image": "a.png", "conversations": turns("什么？", None)},
    {"image": "a.png", "conversations": turns("a", "b", " ", "c")},
    {"image": ["a.png", "b.png"], "conversations": turns("<image>哪个？", "这个。")},
    {"image": "a.png", "conversations": turns("<image><image>哪个？", "这个。")},
    {"conversations": turns("<image>哪个？", "这个。")},
    {"image": "a.png", "conversations": [*turns("a", "b"), {"role": "assistant", "content": "c"}]},
    {"image": "a.png", "conversations": turns("画一只猫", "<image>")},
    {"image": "a.png", "caption": "<image>"},
    {"image": "a.png", "conversations": turns("", "一只猫。")},
    {"image": "../a.png", "caption": "出去"},
    {"image": "a.png", "caption": "a <obj_3>", "objects": [{"box": [9, 9, 9, 9], "label": "x"}]},
]


@pytest.mark.parametrize("row", EMPTY)
def test_a_bad_row_is_listed_with_its_place_and_the_rest_goes_on(tmp_path, row):
    good = {"image": "b.png", "caption": "一只猫"}
    (record,), intake = convert(tmp_path, good, row)
    assert record.answers == ("一只猫",)
    (error,) = intake.bad
    assert error.where == f"{tmp_path / 'mine.jsonl'}:2" and error.expected and error.fix
    with pytest.raises(DataError, match=r"no row of 1 can be used"):
        convert(tmp_path, row)
    with pytest.raises(DataError):  # without a list to put it in
        list(catalogue.read("pairs_jsonl", tmp_path / "mine.jsonl"))


def test_too_many_bad_rows_end_it(tmp_path):
    rows = [{"caption": "" if number < 11 else "一"} for number in range(1101)]
    records, _ = convert(tmp_path, *rows)
    assert len(records) == 1090
    with pytest.raises(DataError, match="11 of 1099 rows are bad") as caught:
        convert(tmp_path, *rows[:1099])
    assert "--max_bad" in str(caught.value) and "mine.jsonl:1" in str(caught.value)


# No value of any type becomes what Python would print for it.


ATOMS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 5),
    st.floats(),
    st.text(max_size=4),
    st.binary(max_size=4),
    st.dates(),
    st.decimals(allow_nan=True, allow_infinity=True, places=2),
)
VALUES = st.recursive(
    ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["text", "answer", "x"]), inner, max_size=2)
    ),
    max_leaves=5,
)


def strings(value):
    if isinstance(value, dict):
        return [s for v in value.values() for s in strings(v)]
    if isinstance(value, list):
        return [s for v in value for s in strings(v)]
    if isinstance(value, bool | int):
        return [json.dumps(value)]
    if isinstance(value, float):
        return [json.dumps(value)] if math.isfinite(value) else []
    if isinstance(value, decimal.Decimal):
        return [str(value)] if value.is_finite() else []
    if isinstance(value, datetime.date):
        return [value.isoformat()]
    return (
        [value.replace("\r\n", "\n").replace("\r", "\n").strip()] if isinstance(value, str) else []
    )


@given(role=st.sampled_from(["caption", "answer", "question"]), value=VALUES)
def test_texts_are_what_the_cells_hold(role, value):
    from zv_jax.data.readers import rows
    from zv_jax.data.readers.base import Request
    from zv_jax.data.readers.cells import Entry

    fields = {"question": "什么？", "answer": "猫"} if role != "caption" else {}
    request = Request("csv", "mine", "train")
    row = rows.Row(
        request, columns.Columns({}, (), "mine"), Entry(fields | {role: value}, "f", "f:1", 0)
    )
    try:
        record = row.record()
    except DataError as error:
        assert error.where == "f:1"
        return
    texts = [turn.text for turn in record.turns] + list(record.answers or ())
    assert set(texts) <= {"什么？", "猫", *strings(value)}


TYPES = [
    (pyarrow.float32(), [0.1], "0.1"),
    (pyarrow.float64(), [0.1], "0.1"),
    (pyarrow.int8(), [3], "3"),
    (pyarrow.float64(), [3.0], "3"),
    (pyarrow.large_string(), ["红"], "红"),
    (pyarrow.dictionary(pyarrow.int8(), pyarrow.string()), ["红"], "红"),
    (pyarrow.decimal128(5, 2), [decimal.Decimal("1.50")], "1.50"),
    (pyarrow.date32(), [datetime.date(2024, 1, 2)], "2024-01-02"),
    (pyarrow.bool_(), [False], "false"),
]


@pytest.mark.parametrize(("kind", "values", "text"), TYPES)
def test_parquet_types_as_text(tmp_path, kind, values, text):
    cells = pyarrow.array(values * 2 + [None], kind)
    table = pyarrow.table({"question": ["多少？"] * 3, "answer": cells})
    pyarrow.parquet.write_table(table, tmp_path / "t.parquet")
    intake = Intake(0.01)
    records = list(catalogue.read("parquet", tmp_path / "t.parquet", intake=intake))
    assert [said(r)[0][1] for r in records] == [text] * 2
    assert [error.where for error in intake.bad] == [f"{tmp_path / 't.parquet'} row 2"]


@pytest.mark.parametrize("page", ["docs/train_on_my_data.md", "docs/zh/train_on_my_data.md"])
def test_the_documentation_lists_every_column(page):
    text = (pathlib.Path(__file__).parents[3] / page).read_text(encoding="utf-8")
    for role, groups in columns.USUAL.items():
        (line,) = (line for line in text.splitlines() if line.startswith(f"| `{role}` |"))
        listed = [name for group in groups for name in group]
        assert re.findall("`([^`]+)`", line.split("|")[2]) == listed
