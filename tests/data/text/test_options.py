"""Options are shown beside a question unless it lists them as options."""

import time

import pytest

from zv_jax.data.records import record as records
from zv_jax.data.text import dialogue
from zv_jax.data.text.options import listed

NUMBERS = ("1", "2", "3", "4")
LETTERS = ("A", "B", "C", "D")
SIDES = ("left", "right")
ANIMALS = ("猫", "狗", "鸟")

LISTED = [
    ("Which is it, 1, 2, 3 or 4?", NUMBERS),
    ("Is the dog on the left or right?", SIDES),
    ("Is the dog on the Right or Left?", SIDES),
    ("Is it a cat or a dog?", ("cat", "dog")),
    ("What is it?\nA. a cat\nB. a dog", ("a cat", "a dog")),
    ("What is it? (a) cat (b) dog", ("cat", "dog")),
    ("What is it? A) cat B) dog", ("A) cat", "B) dog")),
    ("What is it?\n- cat\n- dog", ("cat", "dog")),
    ('What is it? ["cat", "dog"]', ("cat", "dog")),
    ("What is it? A. cat B. dog C. cow D. pig", LETTERS),
    ("Which point is the nearest: A, B, C, or D?", LETTERS),
    ("Is it red? Answer yes or no.", ("yes", "no")),
    ("Red, red car, or blue?", ("red", "red car", "blue")),
    ("A. 1.5 m B. 2.5 m", ("1.5 m", "2.5 m")),
    ("图中是猫、狗还是鸟？", ANIMALS),
    ("图中是什么？猫，狗，或者鸟", ANIMALS),
    ("图中是什么？Ａ．猫　Ｂ．狗　Ｃ．鸟", ANIMALS),
    ("图中是什么？（Ａ）猫（Ｂ）狗（Ｃ）鸟", ANIMALS),
    ("图中是什么？A、猫 B、狗 C、鸟", ANIMALS),
    ("图中是什么？①猫②狗③鸟", ANIMALS),
    ("图中是什么？\n1．猫\n2．狗\n3．鸟", ANIMALS),
    ("圖中是貓還是狗？", ("貓", "狗")),
    ("哪一个？Ａ．猫　Ｂ．狗", ("Ａ", "B")),
    ("有几只？１、２还是３？", ("1", "2", "3")),
]
NOT_LISTED = [
    ("Which of the 1234 squares is red?", NUMBERS),
    ("Which square is red?", SIDES),
    ("How many of the 2 dogs, 3 cats and 14 birds are white?", NUMBERS),
    ("Is it 1.5, 2.5, 3.5 or 4.5 metres long?", NUMBERS),
    ("What is left of the bright light?", SIDES),
    ("What is to the left of the cat on the right?", SIDES),
    ("The cat sees a dog. Who is it?", ("cat", "dog")),
    ("A category of dogma: which?", ("cat", "dog")),
    ("Does a boy or a girl hold the cat?", ("a", "b")),
    ("What does Anna see in Berlin with Clara and Dora?", LETTERS),
    ("What is the cat doing?", ("cat",)),
    ("Is it a cat or a dog?", ("cat", "dog", "cow")),
    ("猫和狗之间是什么？", ANIMALS),
    ("猫看着狗，鸟在哪里？", ANIMALS),
    ("左右两边的图有何不同？", ("左", "右")),
    ("第1234号方块是什么颜色？", NUMBERS),
    ("", SIDES),
]


@pytest.mark.parametrize(("question", "choices"), LISTED)
def test_options_that_a_question_lists_are_seen(question, choices):
    assert listed(question, choices)


@pytest.mark.parametrize(("question", "choices"), NOT_LISTED)
def test_words_of_options_in_a_question_list_nothing(question, choices):
    assert not listed(question, choices)


def record(question, choices, lang):
    return records.Record(
        "r/1", "s", "train", "mc_vqa", lang, (), (records.Turn("user", question),),
        choices=choices, answer_index=0,
    )  # fmt: skip


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_the_model_is_shown_every_option_once(lang):
    for question, choices in (("Which of the 1234 squares?", NUMBERS), ("第1234号？", NUMBERS)):
        (turn,) = dialogue.exchanges(record(question, choices, lang), box_decimals=2)
        assert "(a) 1 (b) 2 (c) 3 (d) 4" in turn.question and question in turn.question
    for question, choices in LISTED:
        (turn,) = dialogue.exchanges(record(question, choices, lang), box_decimals=2)
        assert turn.question == question.strip() and turn.template is None


def test_a_long_question_of_separators_is_soon_read():
    started = time.monotonic()
    assert not listed("1, " * 20_000 + "- " * 20_000 + "\n" * 20_000, NUMBERS)
    assert time.monotonic() - started < 2
