"""Rows of own tables from which something would be lost or taken for something else."""

import pytest

from tests.data.readers.test_own_shapes import convert, one, paths, refused, said, turns

ASKED = {"image": "a.png", "question": "Which?"}


def bad(folder, row, **options):
    """The error of a row that is left out, beside one that is read."""
    _, intake = convert(folder, {"image": "b.png", "caption": "一只猫"}, row, **options)
    (error,) = intake.bad
    return str(error)


def chosen(folder, options, **row):
    record = one(folder, ASKED | {"options": options} | row)
    return record.choices[record.answer_index]


# Options


@pytest.mark.parametrize(
    "row",
    [
        {"options": ["red", None, "blue", "green"], "answer_index": 2},
        {"options": ["red", "", "blue", "green"], "answer": "C"},
        {"options": {"A": "red", "B": None, "C": "blue", "D": "green"}, "answer": "C"},
        {"options": [{"text": "red"}, {"text": None}, {"text": "blue"}], "answer": "C"},
        {"A": "red", "B": " ", "C": "blue", "answer": "C"},
    ],
)
def test_options_with_a_hole_are_no_question(tmp_path, row):
    assert "from 0, has no text" in bad(tmp_path, ASKED | row)


def test_options_of_fewer_letters_than_the_table_has_are_whole(tmp_path):
    assert chosen(tmp_path, {"A": "red", "B": "blue", "C": None}, answer="B") == "blue"
    assert chosen(tmp_path, ["red", "blue", None], answer_index=1) == "blue"


@pytest.mark.parametrize(
    ("options", "answer", "right"),
    [
        ({"B": "red", "C": "blue"}, "B", "red"),
        ({"D": "x", "C": "y", "B": "z"}, "C", "y"),
        ({"a": "dog", "B": "cat"}, "a", "dog"),
        ({"label": ["B", "A"], "text": ["cat", "dog"]}, "B", "cat"),
        ({"label": ["乙", "甲"], "text": ["猫", "狗"]}, "甲", "狗"),
        ([{"key": "B", "value": "cat"}, {"key": "A", "value": "dog"}], "B", "cat"),
        ({"1": "猫", "2": "狗"}, "1", "猫"),
        ({"1": "cat", "2": "dog"}, 1, "cat"),
        (["A. red", "B. blue"], "B", "blue"),
        (["A) cat", "B) dog"], "dog", "dog"),
        (["A、猫", "B、狗"], "B、狗", "狗"),
        (["(A) cat", "(B) dog"], "(b) dog", "dog"),
    ],
)
def test_an_answer_names_an_option_by_its_own_label(tmp_path, options, answer, right):
    assert chosen(tmp_path, options, answer=answer) == right


def test_options_that_only_look_marked_stay_whole(tmp_path):
    assert chosen(tmp_path, ["A. Lincoln", "G. Washington"], answer_index=0) == "A. Lincoln"
    assert chosen(tmp_path, ["B. red", "A. blue"], answer="A. blue") == "A. blue"


def test_an_index_into_options_numbered_from_one_is_not_guessed(tmp_path):
    row = ASKED | {"options": {"1": "cat", "2": "dog"}, "answer_index": 1}
    assert "numbers of their own, from 1" in bad(tmp_path, row)


# Columns


@pytest.mark.parametrize(
    ("row", "column"),
    [
        ({"ask": "What colour?", "answer": "red"}, "ask"),
        ({"Q": "What colour", "answer": "red"}, "Q"),
        ({"题目": "什么颜色", "回答": "红"}, "题目"),
        ({"ask": "What colour?", "caption": "red"}, "ask"),
        ({"zz": "What colour?", "caption": "red"}, "zz"),
        ({"text": "What colour?", "answer": "red"}, "answer"),
        ({"text": "什么颜色？", "label": "红"}, "label"),
        ({"question": "什么颜色？", "answer": "红", "context": "晚上。"}, "context"),
        ({"question": "Which?", "answer": "B", "option_a": "cat", "option_b": "dog"}, "option_a"),
        ({"messages": turns("a", "b"), "question": "c"}, "question"),
        ({"messages": turns("a", "b"), "options": ["c", "d"]}, "options"),
        ({"messages": turns("a", "b"), "input": "c"}, "input"),
    ],
)
def test_a_text_that_belongs_to_the_question_is_never_left_out_unseen(tmp_path, row, column):
    error = refused(tmp_path, row | {"image": "a.png"})
    assert repr(column) in error and f"--ignore={column}" in error
    rest = [name for name in row if name.startswith("option_")] or [column]
    assert convert(tmp_path, row | {"image": "a.png"}, ignore=rest)[0]


@pytest.mark.parametrize(
    "row",
    [
        {"圖片": "a.png", "提問": "是什麼？", "答覆": "貓"},
        {"圖片": "a.png", "Question ": "是什麼？", "答復": "貓"},
    ],
)
def test_usual_names_in_traditional_characters_or_with_a_blank(tmp_path, row):
    assert said(one(tmp_path, row)) == [("是什麼？", "貓", (0,))]


def test_an_answer_alone_is_a_caption_where_nothing_else_is_said(tmp_path):
    assert one(tmp_path, {"image": "a.png", "answer": "一只猫"}).answers == ("一只猫",)
    (record,), intake = convert(tmp_path, {"image": "a.png", "text": "a cat", "label": 3})
    assert record.answers == ("a cat",) and intake.unused == {"label": 1}


def test_whole_columns_as_lists_are_no_row(tmp_path):
    row = {"image": ["red.png", "blue.png"], "caption": ["a red one", "a blue one"]}
    assert "a row for each image" in refused(tmp_path, row)


@pytest.mark.parametrize("image", [None, "", []])
def test_a_caption_whose_image_is_missing_is_a_bad_row(tmp_path, image):
    assert "without an image" in bad(tmp_path, {"image": image, "caption": "a red square"})


def test_the_mend_for_a_second_image_keeps_the_first(tmp_path):
    row = {"image": "a.png", "image2": "b.png", "caption": "two"}
    assert "--columns=image=image,image=image2," in refused(tmp_path, row)
    assert paths(one(tmp_path, row, columns={"image": ["image", "image2"]})) == ["a.png", "b.png"]
    row = {"left_image": "l.png", "right_image": "r.png", "caption": "two"}
    assert "--columns=image=left_image," in refused(tmp_path, row)
    error = refused(tmp_path, row, columns={"image": "left_image"})
    assert "--columns=image=left_image,image=right_image," in error


def test_a_column_that_no_role_has_is_asked_for(tmp_path):
    error = refused(tmp_path, ASKED | {"correct_answer": "red"})
    assert "--columns=answer=COLUMN" in error and "correct_answer" in error


# Turns and parts


@pytest.mark.parametrize(
    "part",
    [
        {"image": "b.png", "text": "什么颜色？"},
        {"type": "image", "image": "b.png", "text": "What colour?"},
        {"type": "text", "text": "What?", "image": "b.png"},
        {"type": "text", "text": "What?", "image_url": {"url": "b.png"}},
        {"type": "text", "text": "What?", "hint": "It is late."},
    ],
)
@pytest.mark.parametrize("first", [True, False])
def test_a_part_that_says_two_things_is_refused(tmp_path, part, first):
    talk = turns([part], "蓝。") if first else turns("a", "b", [part], "蓝。")
    error = refused(tmp_path, {"messages": talk})
    assert "is used for nothing" in error and "content[0]" in error


def test_parts_may_count_the_images_of_the_row(tmp_path):
    parts = [{"type": "image", "index": 1}, {"type": "image", "index": 0}, "哪个？"]
    row = {"images": ["red.png", "blue.png"], "messages": turns(parts, "第一个。")}
    assert paths(one(tmp_path, row)) == ["blue.png", "red.png"]
    for index in (0, 2, -1):
        row["messages"] = turns([parts[1], {"type": "image", "index": index}, "哪个？"], "一。")
        assert "2 <image> in the texts for 2 images" in bad(tmp_path, row)


def test_images_of_the_row_beside_others_of_its_turns_have_no_place(tmp_path):
    talk = turns([{"type": "image", "image": "b.png"}, "什么？"], "蓝。")
    error = bad(tmp_path, {"image": "a.png", "messages": talk})
    assert "1 named in the turns" in error and "name each image once" in error


@pytest.mark.parametrize("name", ["image", "photo", "image_path", "img", "image_url", "图片"])
def test_an_image_of_a_turn_is_found_under_its_usual_names(tmp_path, name):
    talk = turns("a", "b", "什么？", "狗。")
    talk[2][name] = "b.png"
    record = one(tmp_path, {"messages": talk})
    assert paths(record) == ["b.png"] and said(record)[1] == ("什么？", "狗。", (0,))


@pytest.mark.parametrize(
    ("more", "key"),
    [
        ({"scan": "b.png"}, "scan"),
        ({"hint": "晚上。"}, "hint"),
        ({"system": "Be brief."}, "system"),
        ({"options": ["a", "b"]}, "options"),
        ({"weight": 0}, "weight"),
        ({"loss": False}, "loss"),
        ({"loss_mask": 0}, "loss_mask"),
        ({"mask": True}, "mask"),
        ({"text": "What colour?"}, "text"),
    ],
)
def test_what_a_turn_says_beside_its_text_is_refused_and_may_be_left_out(tmp_path, more, key):
    talk = turns("a", "b", "什么？", "狗。")
    talk[2] |= more
    error = refused(tmp_path, {"messages": talk})
    assert f"--ignore={key}" in error and "messages[2]" in error
    (record,), _ = convert(tmp_path, {"messages": talk}, ignore=[key])
    assert len(record.turns) == 4
    pairs = [{"question": "什么？", "answer": "狗。"} | more]
    assert f"--ignore={key}" in refused(tmp_path, {"qa_pairs": pairs})


def test_facts_about_a_turn_are_reported_only(tmp_path):
    talk = turns("a", "b")
    talk[1] |= {"id": "x7", "weight": 1, "timestamp": "2024-01-02"}
    _, intake = convert(tmp_path, {"messages": talk})
    assert set(intake.unused) == {f"messages[].{key}" for key in ("id", "weight", "timestamp")}


def test_a_turn_of_two_merged_schemas_says_what_is_filled_in(tmp_path):
    talk = [
        {"from": None, "value": None, "role": "user", "content": "什么颜色？", "image": "a.png"},
        {"from": "gpt", "value": "红", "role": None, "content": None},
    ]
    assert said(one(tmp_path, {"messages": talk})) == [("什么颜色？", "红", (0,))]


def test_a_prompt_and_its_completion_may_be_turns(tmp_path):
    row = {"prompt": turns("什么颜色？"), "completion": [{"role": "assistant", "content": "红"}]}
    assert said(one(tmp_path, row | {"image": "a.png"})) == [("什么颜色？", "红", (0,))]
    error = refused(tmp_path, row | {"image": "a.png"}, ignore=["prompt"])
    assert "completion" in error and "caption" not in error.partition("expected")[0]


# Marks of other programs


MARKS = ["<image_placeholder>", "<image/>", "< image >", "[IMG]", "<|image_start|>", "<im_patch>"]
MARKS += ["＜image＞", "‹图片>", "{image}", "<img src='red.png'>", "![](red.png)", "【图片】"]
MARKS += ["<image>red.png</image>", "<ImageHere>", "<image_1>", "<video>", "<start_of_image>"]
MARKS += ["<|vision_start|><|image_pad|><|vision_end|>", "<IMG_CONTEXT>", "<Image>"]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("place", ["question", "answer", "caption"])
def test_marks_of_other_programs_are_never_learned(tmp_path, mark, place):
    row = {"image": "a.png", "question": "什么？", "answer": "猫"}
    row = row | {place: f"{mark} 红"} if place != "caption" else {"image": "a.png", place: mark}
    error = bad(tmp_path, row)
    assert "is not understood" in error or "<image>" in error
    assert "sed" not in error


@pytest.mark.parametrize(
    "text", ["<imagine>", "a[0]", "x < image", "<i>红</i>", "[sic]", "{im}", "<b>", "《图片》"]
)
def test_other_brackets_are_texts(tmp_path, text):
    record = one(tmp_path, {"image": "a.png", "question": text, "answer": text})
    assert said(record) == [(text, text, (0,))]


def test_html_is_a_text_where_there_is_no_image(tmp_path):
    html = 'Write <img src="a.png"> or ![a](a.png).'
    assert said(one(tmp_path, {"question": "How?", "answer": html})) == [("How?", html, ())]


# Texts


def test_weights_that_do_not_fit_their_answers_are_a_bad_row(tmp_path):
    row = {"question": "什么？", "answers": ["red", None, "blue"], "weights": [3, 1, 2]}
    assert "'weights' is a list of 3 for 2 answers" in bad(tmp_path, row)
    row |= {"answers": ["red", "blue"], "weights": [3, 1]}
    assert one(tmp_path, row).weights == one(tmp_path, row | {"weights": "[3, 1]"}).weights


@pytest.mark.parametrize("text", ["\u200b", "\ufeff", "\u200d \u2060", "\u0007", "a\u0000"])
def test_what_cannot_be_seen_is_no_answer(tmp_path, text):
    assert "mine.jsonl:2" in bad(tmp_path, {"image": "a.png", "question": "什么？", "answer": text})


@pytest.mark.parametrize(
    "cell",
    ["['red' 'dark red' 'maroon']", "array(['red'], dtype=object)", "['红'\n '蓝']"],
)
def test_what_numpy_prints_is_no_text(tmp_path, cell):
    row = {"image": "a.png", "question": "什么？"}
    assert "NumPy" in refused(tmp_path, row | {"answers": cell})
    assert "NumPy" in refused(tmp_path, row | {"answer": "a", "image": "['1.png' '2.png']"})


# Images that are meant


@pytest.mark.parametrize("column", ["image_id", "img_id", "coco_id", "图片编号", "photo name"])
def test_a_row_that_names_an_image_and_has_none_is_no_text_to_learn(tmp_path, column):
    error = bad(tmp_path, {"image": None, "question": "多少？", column: 42, "answer": "红"})
    assert repr(column) in error and "the row has none" in error
    record = one(tmp_path, {"question": "1 + 1?", column: None, "answer": "2"})
    assert said(record) == [("1 + 1?", "2", ())]
    (record,), intake = convert(tmp_path, ASKED | {column: 42, "answer": "红"})
    assert paths(record) == ["a.png"] and column in intake.unused


def test_paths_of_windows_are_read_below_the_root(tmp_path):
    assert paths(one(tmp_path, {"image": "照片\\a.png", "caption": "猫"})) == ["照片/a.png"]
    assert "drive of Windows" in bad(tmp_path, {"image": "C:\\照片\\a.png", "caption": "猫"})
    assert "leads out" in bad(tmp_path, {"image": "..\\a.png", "caption": "猫"})


# Mends that work as they are typed


def test_a_name_with_a_blank_is_in_quotes(tmp_path):
    error = refused(tmp_path, {"Image Path": "a.png", "question": "什么？", "answer": "猫"})
    assert "'--columns=image=Image Path'" in error and "'--ignore=Image Path'" in error


@pytest.mark.parametrize(
    "turn", [{"human": "什么？", "assistant": "猫"}, {"user": "什么？", "bot": "猫"}, {"q": "a"}]
)
def test_a_turn_of_another_shape_is_described(tmp_path, turn):
    error = refused(tmp_path, {"image": "a.png", "conversations": [turn]})
    assert ", ".join(turn) in error and '"role": "user"' in error and "rename" not in error


@pytest.mark.parametrize("answer", ["Ｂ", "（Ｂ）", "ｂ．", "Ｂ．红", "Ｂ、红"])
def test_letters_of_full_width_name_an_option(tmp_path, answer):
    assert chosen(tmp_path, ["蓝", "红"], answer=answer) == "红"
