import numpy as np
import pytest

from zv_jax.data import dialogue as D
from zv_jax.data.dialogue import IGNORE, Exchange
from zv_jax.data.records import from_json
from zv_jax.data.templates import templates
from zv_jax.errors import DataError

IMG, Q = 9999, 3


def record(task="vqa", turns=(), lang="en", images=1, **more):
    return from_json(
        {
            "id": "r/1",
            "source": "r",
            "split": "train",
            "task": task,
            "lang": lang,
            "images": [{"path": f"{i}.png"} for i in range(images)],
            "turns": [{"role": r, "text": t} for r, t in turns],
            **more,
        }
    )


def row(turns, tokenizer, max_length=200, **more):
    return D.dialogue_row(
        turns,
        tokenizer,
        num_queries=Q,
        image_token_id=IMG,
        max_length=max_length,
        where="r/1",
        **more,
    )


def learned(row):
    return [label for label in row.labels if label != IGNORE]


TURNS = (Exchange("What colour?", "red", (0,)), Exchange("这是什么？", "方块", (1,)))


def test_the_layout_of_a_dialogue_with_two_pictures(tokenizer):
    enc = tokenizer.encode
    got = row(TURNS, tokenizer)
    assert got.input_ids == [
        IMG,
        IMG,
        IMG,
        1,
        *enc("<human>:What colour?\n<bot>:"),
        *enc("red"),
        2,
        IMG,
        IMG,
        IMG,
        *enc("<human>:这是什么？\n<bot>:"),
        *enc("方块"),
        2,
    ]
    assert learned(got) == [*enc("red"), 2, *enc("方块"), 2]
    assert all(label in (IGNORE, i) for i, label in zip(got.input_ids, got.labels, strict=True))
    assert got.images == (0, 1)


def test_chat_learns_only_the_last_answer_of_each_sample(tokenizer):
    first, second = (row(t, tokenizer, only_last=True) for t in D.expand_turns(TURNS))
    assert learned(first) == [*tokenizer.encode("red"), 2]
    assert learned(second) == [*tokenizer.encode("方块"), 2]
    assert second.input_ids == row(TURNS, tokenizer).input_ids


@pytest.mark.parametrize("count", [1, 2])
def test_inference_sees_what_training_saw(tokenizer, count):
    trained = row(TURNS[:count], tokenizer, only_last=True)
    asked = D.prompt_row(
        (*TURNS[: count - 1], Exchange(TURNS[count - 1].question, None, TURNS[count - 1].images)),
        tokenizer,
        num_queries=Q,
        image_token_id=IMG,
        max_length=199,
    )
    answer = learned(trained)
    assert asked.input_ids + answer == trained.input_ids
    assert asked.images == trained.images


def test_a_dialogue_without_picture_starts_with_bos(tokenizer):
    assert row((Exchange("q", "a"),), tokenizer).input_ids[0] == tokenizer.bos_id


def test_a_long_answer_is_cut_and_still_ends(tokenizer):
    full = row((Exchange("q", "red " * 50, (0,)),), tokenizer, 500)
    cut = row((Exchange("q", "red " * 50, (0,)),), tokenizer, 40)
    assert len(cut.input_ids) == 40
    assert cut.input_ids[:-1] == full.input_ids[:39]
    assert cut.input_ids[-1] == cut.labels[-1] == tokenizer.eos_id


@pytest.mark.parametrize("only_last", [True, False])
def test_no_more_answer_is_learned_than_allowed(tokenizer, only_last):
    turns = (Exchange("q", "red " * 9, (0,)), Exchange("r", "blue " * 9))
    for most in range(2, 40):
        got = learned(row(turns, tokenizer, max_answer=most, only_last=only_last))
        assert 2 <= len(got) <= most and got[-1] == tokenizer.eos_id


def test_a_long_question_leaves_half_the_room_to_the_answer(tokenizer):
    cut = row((Exchange("red " * 50, "blue " * 50, (0,)),), tokenizer, 44)
    assert len(cut.input_ids) == 44 and len(learned(cut)) == 20
    assert cut.input_ids[:4] == [IMG, IMG, IMG, 1]
    # The end of the prompt, where the model begins to speak, stays.
    tail = tokenizer.encode("\n<bot>:")[1:]
    assert cut.input_ids[24 - len(tail) : 24] == tail


def test_packing_drops_the_last_exchanges_with_their_pictures(tokenizer):
    length = len(row(TURNS[:1], tokenizer).input_ids)
    got = row(TURNS, tokenizer, length + Q + 2)
    assert got == row(TURNS[:1], tokenizer)
    assert got.images == (0,)


def test_chat_drops_old_text_but_no_picture(tokenizer):
    alone = row(TURNS[1:], tokenizer)
    got = row(TURNS, tokenizer, len(alone.input_ids) + Q, only_last=True)
    assert got.input_ids == [IMG] * Q + alone.input_ids
    assert got.images == (0, 1)


@pytest.mark.parametrize("only_last", [True, False])
def test_pictures_that_leave_no_room_are_an_error(tokenizer, only_last):
    with pytest.raises(DataError, match="r/1"):
        row((Exchange("q", "a", (0, 1)),), tokenizer, 2 * Q + 2, only_last=only_last)


def test_rows_never_exceed_the_length_nor_cut_a_picture(tokenizer):
    turns = [Exchange("red " * n, "blue " * (7 - n), (n,) if n % 2 else ()) for n in range(1, 6)]
    for length in range(16, 120):
        for only_last in (True, False):
            got = row(turns, tokenizer, length, only_last=only_last)
            assert len(got.input_ids) <= length
            assert got.input_ids.count(IMG) == Q * len(got.images)
            assert got.labels[-1] == tokenizer.eos_id


def test_boxes_become_text_with_the_decimals_asked_for():
    made = record(
        "ref_ground",
        [("user", "where?"), ("assistant", "at <obj_0>")],
        objects=[{"box": [0.125, 0.25, 0.5, 1], "label": "x"}],
    )
    answers = [D.exchanges(made, box_decimals=d)[0].answer for d in (2, 3)]
    assert answers == ["at [0.12,0.25,0.50,1.00]", "at [0.125,0.250,0.500,1.000]"]


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_an_instruction_is_put_where_none_is(lang):
    made = record("caption", [("assistant", "red")], lang)
    asked = {D.exchanges(made, box_decimals=2, epoch=e)[0].question for e in range(30)}
    assert len(asked) > 3 and asked <= set(templates("caption", lang))
    assert D.exchanges(made, box_decimals=2)[0].question == templates("caption", lang)[0]
    again = [D.exchanges(made, box_decimals=2, seed=5, epoch=3) for _ in range(2)]
    assert again[0] == again[1]


def test_a_question_is_taken_as_it_is_unless_a_template_is_named():
    turns = [("user", "<image>what?"), ("assistant", "red")]
    assert D.exchanges(record(turns=turns), box_decimals=2) == (Exchange("what?", "red", (0,)),)
    wrapped = record(turns=turns, meta={"template": "vqa"})
    question = D.exchanges(wrapped, box_decimals=2)[0].question
    assert "what?" in question and question != "what?"


def test_grounding_and_choices_fill_their_templates():
    ground = record(
        "ref_ground", objects=[{"box": [0, 0, 0.5, 1], "label": "dog", "tag_zh": "狗"}], lang="zh"
    )
    (turn,) = D.exchanges(ground, box_decimals=2)
    assert "狗" in turn.question and turn.answer == "[0.00,0.00,0.50,1.00]"
    choice = record("mc_vqa", [("user", "which?")], choices=["cat", "dog"], answer_index=1)
    (turn,) = D.exchanges(choice, box_decimals=2)
    assert "(a) cat (b) dog" in turn.question and turn.answer == "dog"


def test_answers_are_drawn_by_weight():
    made = record("vqa", [("user", "q")], answers=["a", "b", "c"], weights=[0, 3, 1])
    got = [D.exchanges(made, box_decimals=2, epoch=e)[0].answer for e in range(400)]
    assert "a" not in got
    assert 0.68 < got.count("b") / 400 < 0.82
    captions = {D.caption(record("caption", answers=["a", "b", "c"]), 0, e) for e in range(30)}
    assert captions == {"a", "b", "c"}


def test_pictures_come_with_the_turn_that_names_them():
    turns = [
        ("user", "first"),
        ("assistant", "a"),
        ("user", "<image><image>second"),
        ("assistant", "b"),
    ]
    got = D.exchanges(record("conversation", turns, images=2), box_decimals=2)
    assert [t.images for t in got] == [(), (0, 1)]
    assert got[1].question == "second"
    with pytest.raises(DataError, match="2 <image> placeholders for 3"):
        D.exchanges(record("conversation", turns, images=3), box_decimals=2)


@pytest.mark.parametrize(
    ("turns", "message"),
    [
        ([("user", "q")], "without an answer"),
        ([("user", "q"), ("assistant", "a"), ("assistant", "b")], "two answers"),
        ([("assistant", "a")], "without an instruction"),
    ],
)
def test_a_dialogue_that_makes_no_sense_names_its_record(turns, message):
    with pytest.raises(DataError, match=message) as caught:
        D.exchanges(record("reason", turns), box_decimals=2)
    assert "r/1" in str(caught.value)


def test_qformer_text_keeps_the_end_of_questions_and_the_start_of_captions(tokenizer):
    ids = tokenizer.encode("red blue green")
    end = D.qformer_ids("red blue green", tokenizer, 4)
    start = D.qformer_ids("red blue green", tokenizer, 4, "start")
    assert end == [tokenizer.cls_id, *ids[-2:], tokenizer.sep_id]
    assert start == [tokenizer.cls_id, *ids[:2], tokenizer.sep_id]


def test_padding_on_both_sides():
    rows = [[5, 6], [7], []]
    np.testing.assert_array_equal(D.pad_right(rows, 0, 3), [[5, 6, 0], [7, 0, 0], [0, 0, 0]])
    np.testing.assert_array_equal(D.mask_of(rows, 3), [[1, 1, 0], [1, 0, 0], [0, 0, 0]])
    ids, mask = D.pad_left(rows, 0)
    np.testing.assert_array_equal(ids, [[5, 6], [0, 7], [0, 0]])
    np.testing.assert_array_equal(mask, [[1, 1], [0, 1], [0, 0]])
