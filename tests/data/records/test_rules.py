"""One set of rules: training draws what `zv data validate` calls right, and refuses the rest."""

import json

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zv_jax.data.pipeline import census, pipeline
from zv_jax.data.records import record as records
from zv_jax.data.records import rules
from zv_jax.data.records.validate import check_file
from zv_jax.data.sources import open as sources
from zv_jax.data.text import dialogue
from zv_jax.data.text.templates import fields, templates
from zv_jax.errors import DataError

BOX = [0.1, 0.2, 0.5, 0.9]
VIEW = {"background": "blue", "objects": [["dog", BOX]], "asked": [0]}
DOG = {"box": BOX, "label": "dog", "tag_zh": "狗"}


def user(text):
    return {"role": "user", "text": text}


def says(text):
    return {"role": "assistant", "text": text}


def row(number=0, turns=(), images=1, lang="en", **more):
    task = more.pop("task", "conversation")
    return {
        "id": f"mine/train/{number}", "source": "mine", "split": "train", "task": task,
        "lang": lang, "images": [{"path": "images/0.png"}] * images, "turns": list(turns), **more,
    }  # fmt: skip


RIGHT = {
    "a question and its answer": row(turns=[user("What?"), says("red")]),
    "one placeholder for one image": row(turns=[user("<image>\nWhat?"), says("red")]),
    "an image that comes later": row(
        turns=[user("Hello."), says("Hi!"), user("<image>"), says("A")]
    ),
    "two questions in a row": row(turns=[user("Look."), user("What?"), says("red")]),
    "a caption without a question": row(task="caption", answers=["red"]),
    "a caption in a turn": row(task="caption", turns=[says("红色")], lang="zh"),
    "a gallery image": row(task="retrieval", answers=["red"]),
    "a choice": row(task="mc_vqa", turns=[user("Which?")], choices=["a", "b"], answer_index=1),
    "a box to find": row(task="ref_ground", objects=[DOG]),
    "a box to name": row(task="ref_caption", objects=[DOG], lang="zh"),
    "what the image shows": row(turns=[user("A?"), says("b")], meta={"views": [VIEW]}),
    "a hint": row(turns=[user("<image>A?"), says("b")], meta={"hint": "It is late."}),
    "a hint alone": row(turns=[user(""), says("b")], meta={"hint": "天色已晚。"}),
    "marks that are spoken of": row(
        turns=[user("What ends an answer in LLaMA, </s>?"), says("</s> does. ASSISTANT: is a role")]
    ),
    "no image": row(turns=[user("Hello."), says("Hi!")], images=0),
}
WRONG = {
    "more options than letters": (
        row(task="mc_vqa", turns=[user("Which?")], choices=[str(i) for i in range(27)],
            answer_index=26),
        "'choices'", "27 options",
    ),
    "a turn that answers another option": (
        row(task="mc_vqa", turns=[user("Which?"), says("Red")], choices=["red", "blue"],
            answer_index=1),
        "'answer_index'", "the last turn answers another option",
    ),
    "a choice without options": (
        row(task="mc_vqa", turns=[user("Which?"), says("red")]), "'choices'", "without options",
    ),
    "a mark of another program": (
        row(turns=[user("<|image_pad|>What?"), says("red")]),
        "'turns[0].text'", "<|image_pad|> is not understood",
    ),
    "a mark in capitals": (
        row(turns=[user("<Image>什么？"), says("红")]), "'turns[0].text'", "<Image> is not",
    ),
    "a mark to learn": (
        row(task="caption", answers=["[IMG] red"]), "'answers[0]'", "[IMG] is not understood",
    ),
    "a mark as HTML writes it": (
        row(turns=[user("&lt;image&gt; What?"), says("red")]),
        "'turns[0].text'", "&lt;image&gt; is not understood",
    ),
    "the prompt of a program around a question": (
        row(turns=[user("USER: 什么？ ASSISTANT:"), says("红")], lang="zh"),
        "'turns[0].text'", "ASSISTANT: belongs to a prompt",
    ),
    "the prompt of this program around a question": (
        row(turns=[user("<human>: What?\n<bot>:"), says("red")]),
        "'turns[0].text'", "<human>: belongs to a prompt",
    ),
    "the mark of a turn": (
        row(turns=[user("What?"), says("red<|eot_id|>")]), "'turns[1].text'", "<|eot_id|> belongs",
    ),
    "an answer that cannot be seen": (
        row(turns=[user("What?"), says("\u200b")]), "'turns[1].text'", "learn is empty",
    ),
    "a character that is none": (
        row(turns=[user("What?"), says("red\0")]), "'turns[1].text'", "U+0000",
    ),
    "fewer placeholders than images": (
        row(turns=[user("<image>\nCompare the two."), says("One is red.")], images=2),
        "'turns'", "1 <image> placeholders for 2 images",
    ),
    "an image in an answer": (
        row(turns=[user("Draw one like <image>."), says("Here: <image>")], images=2),
        "'turns[1]'", "<image> in an answer",
    ),
    "an image in a reference": (
        row(task="caption", answers=["<image> red"]), "'answers[0]'", "<image> in an answer",
    ),
    "a blank question": (
        row(turns=[user(""), says("red")]), "'turns[1]'", "without an instruction",
    ),
    "an image alone": (
        row(turns=[user("<image>"), says("red")]), "'turns[1]'", "without an instruction",
    ),
    "no question": (row(task="reason", turns=[says("因为")], lang="zh"), "'turns[0]'",
                    "without an instruction"),
    "a later blank question": (
        row(turns=[user("What?"), says("red"), user(" "), says("blue")]),
        "'turns[3]'", "a blank question",
    ),
    "nothing to answer with": (row(turns=[user("What?")]), "'turns'", "without an answer"),
    "no turn at all": (row(task="vqa"), "'turns'", "without an answer"),
    "a last question without an answer": (
        row(turns=[user("What?"), says("red"), user("Why?")]), "'turns'", "without an answer",
    ),
    "two answers": (
        row(turns=[user("What?"), says("red"), says("blue")]), "'turns[2]'", "two answers in a row",
    ),
    "an answer that is an image": (
        row(turns=[user("What?"), says("<image>")]), "'turns[1].text'", "learn is empty",
    ),
    "a blank name": (
        row(task="ref_caption", objects=[DOG | {"tag_zh": " "}], lang="zh"),
        "'objects[0]'", "learn is empty",
    ),
    "a box in a reference that is none": (
        row(task="caption", answers=["red", "at <obj_1>"], objects=[DOG]),
        "'answers[1]'", "<obj_1> is none of the objects",
    ),
    "a box in an option that is none": (
        row(task="mc_vqa", turns=[user("Which?")], choices=["<obj_0>", "<obj_7>"], answer_index=0,
            objects=[DOG]),
        "'choices[1]'", "<obj_7>",
    ),
    "a box in a name that is none": (
        row(task="ref_ground", objects=[DOG | {"label": "<obj_5>"}]),
        "'objects[0].label'", "<obj_5>",
    ),
    "a reference to nothing": (
        row(task="ref_ground", answers=["<obj_0>"]), "'answers[0]'", "<obj_0>",
    ),
    "a template that is none": (
        row(turns=[user("What?"), says("red")], meta={"template": "vqaa"}),
        "'meta.template'", "a vqaa record without an instruction",
    ),
    "a template that is a path": (
        row(turns=[user("What?"), says("red")], meta={"template": "../templates/vqa"}),
        "'meta.template'", "without an instruction",
    ),
    "a template that is no word": (
        row(turns=[user("What?"), says("red")], meta={"template": ["vqa"]}),
        "'meta.template'", "without an instruction",
    ),
    "a template without what it needs": (
        row(task="mc_vqa", turns=[says("red")]),
        "'turns[0]'", "lacks what its instruction needs: choices, q",
    ),
    "views of other images": (
        row(turns=[user("What?"), says("red")], images=2, meta={"views": [VIEW]}),
        "'meta.views'", "not one view for each image",
    ),
    "a view of nothing": (
        row(turns=[user("What?"), says("red")], meta={"views": [{"objects": [["dog", 3]]}]}),
        "'meta.views[0]'", "does not say what an image shows",
    ),
    "a view of a box beyond all numbers": (
        row(
            turns=[user("What?"), says("red")],
            meta={"views": [{"objects": [["dog", [10**400, 0, 1, 1]]]}]},
        ),
        "'meta.views[0]'", "does not say what an image shows",
    ),
    "a view that is asked about what it lacks": (
        row(turns=[user("What?"), says("red")], meta={"views": [VIEW | {"asked": [1]}]}),
        "'meta.views[0]'", "does not say what an image shows",
    ),
    "a hint that shows an image": (
        row(turns=[user("What?"), says("red")], meta={"hint": "Look: <image>"}),
        "'meta.hint'", "a hint is words",
    ),
    "a hint that is no text": (
        row(turns=[user("What?"), says("red")], meta={"hint": ["Look."]}),
        "'meta.hint'", "a hint is words",
    ),
    "a box in a hint that is none": (
        row(turns=[user("What?"), says("red")], meta={"hint": "At <obj_2>."}),
        "'meta.hint'", "<obj_2>",
    ),
    "a weight of NaN": (
        row(task="caption", answers=["a", "b"], weights=[float("nan"), 1.0]), "'weights[0]'", "nan",
    ),
    "a negative weight": (
        row(task="caption", answers=["a", "b"], weights=[1.0, -1.0]), "'weights[1]'", "-1",
    ),
    "weights that are infinite together": (
        row(task="caption", answers=["a", "b"], weights=[1e308, 1e308]), "'weights'", "beyond",
    ),
}  # fmt: skip


def validated(folder, rows, **options):
    """{line: errors} of what `zv data validate` says."""
    path = folder / "some.jsonl"
    path.write_text("\n".join(json.dumps(r, ensure_ascii=True) for r in rows) + "\n")
    return dict(check_file(path, **options))


def trained(data):
    """The first error that training would meet, whatever it draws; None if there is none."""
    try:
        record = records.loads(json.dumps(data))
        for epoch in (None, *range(30)):
            turns = dialogue.exchanges(record, box_decimals=2, epoch=epoch)
            assert all(turn.answer and "<obj_" not in turn.answer for turn in turns)
            assert sum(len(turn.images) for turn in turns) == len(record.images)
            assert dialogue.caption(record, 0, epoch).strip()
    except DataError as error:
        return error
    return None


@pytest.mark.parametrize("kind", RIGHT)
def test_what_is_right_for_validate_can_be_drawn(toy, kind):
    assert validated(toy.parent, [RIGHT[kind]]) == {1: []}
    assert trained(RIGHT[kind]) is None


@pytest.mark.parametrize("kind", WRONG)
def test_what_training_refuses_is_listed_with_its_line_and_field(toy, kind):
    data, field, words = WRONG[kind]
    errors = validated(toy.parent, [RIGHT["no image"] | {"id": "other"}, data])[2]
    assert field in errors[0].what and words in errors[0].what
    assert errors[0].where.endswith("some.jsonl:2") and errors[0].expected and errors[0].fix
    refused = trained(data)
    assert refused.what == errors[0].what and refused.where in ("mine/train/0", "record")


def test_training_says_of_a_file_what_validate_says(make_config, toy, tokenizer):
    rows = [data | {"id": f"r/{i}"} for i, data in enumerate(RIGHT.values())]
    rows += [data | {"id": f"w/{i}"} for i, (data, *_) in enumerate(WRONG.values())]
    told = validated(toy.parent, rows)
    listed = {
        rows[line - 1]["id"]: errors[0].what
        for line, errors in told.items()
        if errors and len(rows[line - 1]["images"]) <= 2
    }
    assert len(listed) == len(WRONG)
    source = {"path": str(toy.parent / "some.jsonl"), "tasks": records.TASKS}
    config = make_config("stage2", sources=(source,), max_images=2, max_bad=1.0, max_length=100)
    faults = []
    stream = pipeline.make_pipeline(
        config, tokenizers=(tokenizer, tokenizer), report=lambda step, fault: faults.append(fault)
    )
    for _ in range(60):
        next(stream)
    stream.close()
    refused = {fault.record: fault.what for fault in faults}
    # What has nothing to learn is never drawn: the run counts it before its first step.
    (counted,) = census.take(config, (tokenizer, tokenizer))
    never = listed.items() - refused.items()
    assert refused.items() <= listed.items()
    assert {what for _, what in never} == {"Field 'turns': a question without an answer"}
    assert counted.left_out["empty"] == len(never)


def test_all_that_is_wrong_with_a_record_is_said_at_once(toy):
    data = row(turns=[user(""), says("<obj_3>"), says("<image>")], weights=[-1.0], answers=["a"])
    data["turns"][1]["text"] = "a"
    data["answers"] = ["<obj_3>"]
    said = "\n".join(error.what for error in validated(toy.parent, [data])[1])
    for words in ("two answers", "<image> in an answer", "<obj_3>", "without an instruction", "-1"):
        assert words in said


def test_questions_for_evaluation_need_no_answer(toy):
    data = row(turns=[user("What?")])
    assert validated(toy.parent, [data], answered=False) == {1: []}
    data = row(turns=[user("<image>What?")], images=2)
    assert "placeholders" in validated(toy.parent, [data], answered=False)[1][0].what


def test_a_missing_image_is_told_in_the_same_words(toy, make_config, tokenizer):
    names = ("none.png", "a\0b.png", "../../etc/passwd", ".")
    rows = [
        row(number, [user("What?"), says("red")]) | {"images": [{"path": name}]}
        for number, name in enumerate(names)
    ]
    rows.append(
        row(9, [user("What?"), says("red")]) | {"images": [{"url": "http://img.example/a"}]}
    )
    told = validated(toy.parent, [*rows, row(10, [user("What?"), says("red")])])
    said = {rows[line - 1]["id"]: errors[0].what for line, errors in told.items() if errors}
    source = {"path": str(toy.parent / "some.jsonl")}
    faults = {}
    stream = pipeline.make_pipeline(
        make_config("stage2", sources=(source,), max_bad=1.0),
        tokenizers=(tokenizer, tokenizer),
        report=lambda step, fault: faults.update({fault.record: fault.what}),
    )
    for _ in range(9):
        next(stream)
    stream.close()
    assert len(said) == len(rows) and said.keys() == faults.keys()
    assert all(what in said[name] for name, what in faults.items())


def test_half_a_character_is_refused_where_it_stands(toy):
    for data in (
        row(turns=[user("What?"), says("a\ud800")]),
        row(task="caption", answers=["\udc00"]),
    ):
        (error,) = validated(toy.parent, [data])[1]
        assert "surrogate" in error.expected and trained(data).what == error.what


def test_a_number_of_thousands_of_digits_is_a_number_too_high(toy):
    for text in ("<obj_" + "9" * 5000 + ">", "<obj_123456789012>"):
        assert validated(toy.parent, [row(turns=[user("What?"), says(text)])])[1]
        assert validated(toy.parent, [row(task="caption", answers=[text])])[1]


def test_the_fields_of_templates_are_those_that_records_fill():
    for task in ("mc_vqa", "ref_ground", "ref_caption", "vqa", "match", "translate", "ground_all"):
        for lang in ("en", "zh", "en-zh"):
            needed = fields(task, lang)
            words = dict.fromkeys(needed, "x")
            texts = templates(task, "en" if lang == "en" else "zh")
            assert all(text.format(**words) for text in texts) and needed
    assert not fields("caption", "zh") and not templates("../templates/vqa", "en")


TEXTS = st.sampled_from(
    ["", " ", "What?", "是什么？", "<image>", "<image>What?", "<image><image>", "<obj_0>",
     "<obj_1>", "a <obj_2>", "{q} 100% {", "</s>", "Which: a, b or c?", "（a）a（b）b"]
)  # fmt: skip
RECORDS = st.fixed_dictionaries(
    {
        "task": st.sampled_from(records.TASKS),
        "lang": st.sampled_from(records.LANGS),
        "images": st.integers(0, 3),
        "turns": st.lists(st.builds(lambda r, t: {"role": r, "text": t},
                                    st.sampled_from(records.ROLES), TEXTS), max_size=4),
    },
    optional={
        "answers": st.lists(TEXTS, max_size=3),
        "objects": st.lists(
            st.builds(lambda a, b: {"box": BOX, "label": a, "tag_zh": b}, TEXTS, TEXTS), max_size=2
        ),
        "choices": st.lists(TEXTS, max_size=3),
        "answer_index": st.integers(0, 2),
        "weights": st.lists(st.sampled_from([0.0, 1.0, -1.0, float("nan")]), max_size=3),
        "meta": st.sampled_from(
            [{}, {"hint": "<obj_0>"}, *({"template": name} for name in ("vqa", "query", "x"))]
        ),
    },
)  # fmt: skip


@settings(max_examples=250, deadline=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
@given(RECORDS)
def test_validate_and_training_agree_on_any_record(toy, parts):
    data = row(**parts)
    errors = validated(toy.parent, [data])[1]
    refused = trained(data)
    assert (refused and refused.what) == (errors[0].what if errors else None)


def test_the_rules_name_the_record_where_no_line_is_known():
    record = records.loads(json.dumps(WRONG["two answers"][0]))
    (error,) = rules.check(record)
    assert error.where == "mine/train/0"


def test_an_id_that_is_taken_is_left_out_of_training_too(toy):
    rows = [row(0, [user("A?"), says("b")]), row(1, [user("A?"), says("b")])]
    rows += [rows[0], rows[0] | {"split": "val"}]
    told = validated(toy.parent, rows)
    assert [line for line, errors in told.items() if errors] == [3, 4]
    source = sources.open_source("jsonl", str(toy.parent / "some.jsonl"), "train", tolerant=True)
    assert len(source) == 2 and source.other_splits == 1
    assert [(e.what, e.where.rpartition(":")[2]) for e in source.broken] == [
        ("Id 'mine/train/0' is taken", "3")
    ]


def test_a_field_that_is_there_twice_is_no_record():
    line = json.dumps(row(turns=[user("A?"), says("b")]))[:-1] + ', "lang": "zh"}'
    with pytest.raises(DataError, match="'lang' is there twice"):
        records.loads(line)


def test_an_image_that_is_not_the_named_one_is_told_where_images_are_read(toy):
    image = {"path": "images/0.png", "sha1": "0" * 40}
    data = row(turns=[user("A?"), says("b")]) | {"images": [image]}
    assert "SHA-1" in str(validated(toy.parent, [data], decode=True)[1][0])
