import itertools
from dataclasses import replace

import numpy as np
import pytest

from zv_jax.data.records.record import from_json
from zv_jax.data.text import dialogue as D
from zv_jax.data.text.dialogue import IGNORE, Exchange
from zv_jax.data.text.templates import templates
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


def test_the_layout_of_a_dialogue_with_two_images(tokenizer):
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


def test_a_dialogue_without_image_starts_with_bos(tokenizer):
    assert row((Exchange("q", "a"),), tokenizer).input_ids[0] == tokenizer.bos_id


# What a row learns where not all fits. `LONG` are texts far above the budgets given with them.

LONG = {"en": "red " * 50, "zh": "方块红色" * 25}
BEFORE, AFTER = Exchange("What colour?", "red", (0,)), Exchange("这是什么？", "方块")


def ids_of(answer, tokenizer):
    return [*tokenizer.encode(answer.strip()), tokenizer.eos_id]


@pytest.mark.parametrize("lang", LONG)
@pytest.mark.parametrize("limits", [{"max_length": 40}, {"max_length": 200, "max_answer": 20}])
@pytest.mark.parametrize("only_last", [True, False])
def test_an_answer_that_does_not_fit_is_not_a_sample(tokenizer, only_last, limits, lang):
    turns = [Exchange("q", LONG[lang], (0,))]
    with pytest.raises(D.TooLong, match="r/1") as caught:
        row(turns, tokenizer, **limits, only_last=only_last)
    assert isinstance(caught.value, DataError)
    assert f"{len(ids_of(LONG[lang], tokenizer))} tokens" in caught.value.what
    assert "data.long_answers=cut" in caught.value.fix


@pytest.mark.parametrize("lang", LONG)
@pytest.mark.parametrize("limits", [{"max_length": 40}, {"max_length": 200, "max_answer": 20}])
@pytest.mark.parametrize("only_last", [True, False])
def test_the_beginning_of_an_answer_is_learned_without_an_end(tokenizer, only_last, limits, lang):
    turns = [Exchange("q", LONG[lang], (0,))]
    whole = row(turns, tokenizer, 500, only_last=only_last)
    got = row(turns, tokenizer, **limits, only_last=only_last, long_answers="cut")
    size = len(got.input_ids)
    assert (got.input_ids, got.labels) == (whole.input_ids[:size], whole.labels[:size])
    assert tokenizer.eos_id not in got.input_ids
    assert size == 40 if "max_answer" not in limits else len(learned(got)) == 20
    assert (got.cut, got.left_out) == (1, 0) and (whole.cut, whole.left_out) == (0, 0)


@pytest.mark.parametrize("only_last", [True, False])
def test_max_answer_is_the_budget_of_one_answer(tokenizer, only_last):
    turns = (Exchange("q", "red " * 9, (0,)), Exchange("r", "blue " * 9))
    size = len(ids_of("blue " * 9, tokenizer))
    got = row(turns, tokenizer, max_answer=size, only_last=only_last)
    assert got == row(turns, tokenizer, only_last=only_last)
    if not only_last:
        assert len(learned(got)) > size
    short = row(turns, tokenizer, max_answer=size - 1, only_last=only_last, long_answers="cut")
    assert short.cut == (1 if only_last else 2)
    assert tokenizer.eos_id not in learned(short)


def test_base_keeps_a_long_answer_whole_before_later_questions(tokenizer):
    turns = (BEFORE, Exchange("And?", LONG["en"]), AFTER)
    whole = row(turns, tokenizer, 300)
    got = row(turns, tokenizer, 300, max_answer=20)
    assert got.input_ids == whole.input_ids
    assert learned(got) == ids_of("red", tokenizer) + ids_of("方块", tokenizer)
    assert (got.left_out, got.cut) == (1, 0)
    cut = row(turns, tokenizer, 300, max_answer=20, long_answers="cut")
    begun = tokenizer.encode(LONG["en"].strip())[:20]
    assert cut.input_ids == whole.input_ids
    assert learned(cut) == ids_of("red", tokenizer) + begun + ids_of("方块", tokenizer)
    assert (cut.left_out, cut.cut) == (0, 1)


def test_base_leaves_out_what_follows_an_exchange_without_room(tokenizer):
    turns = (BEFORE, Exchange("And?", LONG["en"], (1,)), AFTER)
    alone = row(turns[:1], tokenizer)
    length = len(row(turns[:2], tokenizer, 300).input_ids) - 1
    got = row(turns, tokenizer, length)
    assert (got.input_ids, got.labels, got.images) == (alone.input_ids, alone.labels, (0,))
    assert (got.left_out, got.cut) == (2, 0)
    cut = row(turns, tokenizer, length, long_answers="cut")
    assert len(cut.input_ids) == length and cut.labels[-1] != tokenizer.eos_id
    assert (cut.left_out, cut.cut, cut.images) == (1, 1, (0, 1))


def test_nothing_unlearned_stands_at_the_end_of_a_row(tokenizer):
    got = row((BEFORE, Exchange("And?", LONG["en"], (1,))), tokenizer, 300, max_answer=20)
    alone = row((BEFORE,), tokenizer)
    assert (got.input_ids, got.images, got.left_out) == (alone.input_ids, (0,), 1)


def test_chat_keeps_long_answers_of_its_history_whole(tokenizer):
    turns = (Exchange("q", LONG["en"], (0,)), Exchange("And?", "blue"))
    got = row(turns, tokenizer, 300, max_answer=20, only_last=True)
    assert got.input_ids == row(turns, tokenizer, 300).input_ids
    assert learned(got) == ids_of("blue", tokenizer)
    assert (got.left_out, got.cut) == (0, 0)


@pytest.mark.parametrize("long_answers", ["drop", "cut"])
def test_the_history_stays_while_the_row_has_room(tokenizer, long_answers):
    # The answer alone exceeds its budget; cut to that it leaves room for all that was said before.
    turns = (BEFORE, Exchange("And?", "red " * 150))
    limits = {"max_length": 120, "max_answer": 40, "only_last": True}
    if long_answers == "drop":
        with pytest.raises(D.TooLong):
            row(turns, tokenizer, **limits)
        return
    got = row(turns, tokenizer, **limits, long_answers="cut")
    whole = row(turns, tokenizer, 500, only_last=True)
    assert got.input_ids == whole.input_ids[: len(got.input_ids)]
    assert len(learned(got)) == 40 and got.cut == 1


@pytest.mark.parametrize("long_answers", ["drop", "cut"])
def test_the_oldest_text_goes_before_the_answer_and_the_image_stays(tokenizer, long_answers):
    alone = row(TURNS[1:], tokenizer)
    length = len(alone.input_ids) + Q
    got = row(TURNS, tokenizer, length, only_last=True, long_answers=long_answers)
    assert got.input_ids == [IMG] * Q + alone.input_ids
    assert got.images == (0, 1) and (got.left_out, got.cut) == (0, 0)
    three = (BEFORE, *(replace(turn, images=()) for turn in TURNS))
    later = row((replace(TURNS[0]), replace(TURNS[1], images=())), tokenizer)
    assert row(three, tokenizer, len(later.input_ids), only_last=True).input_ids == later.input_ids


@pytest.mark.parametrize("long_answers", ["drop", "cut"])
@pytest.mark.parametrize("only_last", [True, False])
def test_a_question_is_never_cut(tokenizer, only_last, long_answers):
    turns = (Exchange(LONG["zh"], "red", (0,)),)
    with pytest.raises(D.TooLong, match="r/1"):
        row(turns, tokenizer, 44, only_last=only_last, long_answers=long_answers)


@pytest.mark.parametrize("long_answers", ["drop", "cut"])
@pytest.mark.parametrize("only_last", [True, False])
def test_images_that_leave_no_room_are_an_error(tokenizer, only_last, long_answers):
    turns = (Exchange("q", "a", (0, 1)),)
    with pytest.raises(D.TooLong, match=f"{2 * Q} of images"):
        row(turns, tokenizer, 2 * Q + 2, only_last=only_last, long_answers=long_answers)


def test_packing_drops_the_last_exchanges_with_their_images(tokenizer):
    alone = row(TURNS[:1], tokenizer)
    got = row(TURNS, tokenizer, len(alone.input_ids) + Q + 2)
    assert got == replace(alone, left_out=1)
    assert got.images == (0,)


def test_whatever_the_lengths_a_row_says_only_what_was_said(tokenizer):
    turns = [Exchange("red " * n, "blue " * (7 - n), (n,) if n % 2 else ()) for n in range(1, 6)]
    ends = [ids_of(turn.answer, tokenizer) for turn in turns]
    for length, most, only_last, long_answers in itertools.product(
        range(8, 120, 3), (2, 5, 9), (True, False), ("drop", "cut")
    ):
        try:
            got = row(
                turns, tokenizer, length,
                max_answer=most, only_last=only_last, long_answers=long_answers,
            )  # fmt: skip
        except D.TooLong:
            continue
        assert len(got.input_ids) <= length
        assert got.input_ids.count(IMG) == Q * len(got.images)
        # Labels come in runs, one for each answer: whole, or from its beginning without its end.
        runs = [[i for _, i in part] for learns, part in itertools.groupby(
            zip(got.labels, got.input_ids, strict=True), lambda pair: pair[0] != IGNORE
        ) if learns]  # fmt: skip
        kinds = [run in ends for run in runs]
        assert all(len(run) <= most for run in runs)
        assert kinds.count(False) == got.cut
        assert long_answers == "cut" or not got.cut
        for run in runs:
            assert any(end[: len(run)] == run for end in ends)
        assert len(runs) + got.left_out == (1 if only_last else len(turns))


def test_the_prompt_of_inference_loses_old_texts_but_never_its_question(tokenizer):
    asked = {"num_queries": Q, "image_token_id": IMG}
    turns = (BEFORE, Exchange("And?", "blue"), Exchange("这是什么？"))
    whole = D.prompt_row(turns, tokenizer, max_length=200, **asked)
    got = D.prompt_row(turns, tokenizer, max_length=len(whole.input_ids), **asked)
    assert got == whole
    shorter = D.prompt_row(turns, tokenizer, max_length=len(whole.input_ids) - 1, **asked)
    assert (
        shorter.input_ids
        == [IMG] * Q + D.prompt_row(turns[1:], tokenizer, max_length=200, **asked).input_ids
    )
    with pytest.raises(D.TooLong, match="a question of .* tokens and 1 image") as caught:
        D.prompt_row([Exchange(LONG["zh"], None, (0,))], tokenizer, max_length=44, **asked)
    assert "max_new_tokens" in caught.value.fix


@pytest.mark.parametrize("lang", LONG)
def test_a_text_is_learned_whole_or_without_an_end(tokenizer, lang):
    text = LONG[lang]
    whole = D.text_row(text, tokenizer, 300)
    assert whole.input_ids == [tokenizer.bos_id, *ids_of(text, tokenizer)]
    assert learned(whole) == whole.input_ids[1:]
    assert D.text_row(text, tokenizer, len(whole.input_ids)) == whole
    with pytest.raises(D.TooLong, match=f"{len(whole.input_ids)} tokens"):
        D.text_row(text, tokenizer, len(whole.input_ids) - 1)
    cut = D.text_row(text, tokenizer, len(whole.input_ids) - 1, "cut")
    assert cut.input_ids == whole.input_ids[:-1] and learned(cut) == cut.input_ids[1:]
    assert (whole.cut, cut.cut) == (0, 1)


@pytest.mark.parametrize("lang", LONG)
def test_a_caption_is_matched_with_its_marks_and_learned_whole_or_without_an_end(tokenizer, lang):
    text = LONG[lang].strip()
    ids = D.qformer_ids(text, tokenizer, 300)
    whole = D.caption_row(f" {text} ", tokenizer, len(ids), "drop")
    assert whole == D.Row(ids, [IGNORE, *ids[1:]], ())
    with pytest.raises(D.TooLong, match=f"{len(ids)} tokens"):
        D.caption_row(text, tokenizer, len(ids) - 1, "drop")
    cut = D.caption_row(text, tokenizer, len(ids) - 1, "cut")
    assert cut.input_ids == [*ids[:-2], tokenizer.sep_id]
    assert cut.labels == [IGNORE, *ids[1:-2], IGNORE] and cut.cut == 1


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


def test_images_come_with_the_turn_that_names_them():
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
