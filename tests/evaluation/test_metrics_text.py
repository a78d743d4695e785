"""Captions and short answers: CIDEr-D, tokens, exact match, yes and no."""

import math
import time

import numpy as np
import pytest

from zv_jax.evaluation.metrics import cider, exact_match, ptb, tokens, yes_no
from zv_jax.evaluation.metrics.captions import caption_metric, caption_scores

PTB = [
    # Text, and the tokens of the Java tokenizer of the COCO tools after its punctuation list.
    (
        "A man's dog isn't here, can't cannot gonna stay.",
        "a man 's dog is n't here ca n't can not gon na stay",
    ),
    (
        "Let's go: I'll see 3.5% of it!!! what?! (the red one) [x]",
        "let 's go i 'll see 3.5 % of it !!! what ?! -lrb- the red one -rrb- -lsb- x -rsb-",
    ),
    (
        "Mr. Smith on 5th St. near Main Ave. at 5 p.m. in the U.S. no. 5 etc.",
        "mr. smith on 5th st. near main ave. at 5 p.m. in the u.s. no. 5 etc.",
    ),
    (
        "eggs,doughnuts and black/white 1,000 10:30 $5.00",
        "eggs doughnuts and black/white 1,000 10:30 $ 5.00",
    ),
    (
        "\"Quoted\" text and 'single' ones; dogs' toys",
        "quoted text and single ones dogs toys",
    ),
    ("It costs €5 or £6, 50¢ — wow… ok – yes", "it costs $ 5 or # 6 50 cents wow ok yes"),
    ("A small dog.. A big cat. J. Smith", "a small dog a big cat j. smith"),
    ("a half-eaten sandwich on a plate. the end", "a half-eaten sandwich on a plate the end"),
    ("one\u2028two\rthree", "one two three"),
    ("says no.", "says no"),
    ("", ""),
]


@pytest.mark.parametrize("text,tokens", PTB)
def test_english_tokens_are_those_of_the_coco_tools(text, tokens):
    assert ptb.ptb_tokenize(text) == tokens.split()


@pytest.mark.parametrize("part", ["1-", "-1", "0-0-", "12-12-", "a-1-", "1.5-", "o'1-", "a_1-"])
def test_an_answer_that_repeats_itself_takes_no_time(part):
    began = time.process_time()
    tokens_of = ptb.ptb_tokenize("dog " + part * (2000 // len(part)))
    assert time.process_time() - began < 2
    assert tokens_of[0] == "dog"


def test_chinese_tokens_are_characters_and_whole_latin_runs():
    assert tokens.zh_char("两只 Dog，有３.5！") == ["两", "只", "dog", "有", "3", "5"]


def test_cider_d_equals_the_reference_implementation():
    # Scores of pycocoevalcap's CiderScorer for these tokens.
    predictions = ["a dog on a red mat", "two cats", "a bird in the tree", "a dog"]
    references = [
        ["a dog on a red mat", "the dog sits on a mat"],
        ["two cats sleep", "two cats on a mat"],
        ["a blue bird in a tree"],
        ["a car at the left", "a red car"],
    ]
    mean, scores = cider.cider_d(
        [p.split() for p in predictions], [[r.split() for r in refs] for refs in references]
    )
    assert scores == pytest.approx(GOLDEN_SCORES, abs=1e-9)
    assert mean == pytest.approx(sum(GOLDEN_SCORES) / 4, abs=1e-9)


GOLDEN_SCORES = [5.943990037733, 3.562572190624, 2.602741342645, 0.000000000000]


def test_cider_d_by_hand():
    # Two images, one reference each, one word each: only the order of 1-grams has any weight.
    mean, scores = cider.cider_d([["x"], ["z"]], [[["x"]], [["y"]]])
    assert scores == pytest.approx([2.5, 0.0])
    assert mean == pytest.approx(1.25)
    # Three words against their first two: bigram lengths 2 and 1, so exp(-1/72).
    refs = [[["p", "q"]], [["r", "s"]]]
    _, (score, _) = cider.cider_d([["p", "q", "v"], ["r"]], refs)
    # The unseen v has document frequency 1, as p and q have: cosines 2/(sqrt3 sqrt2), 1/sqrt2.
    unigrams, bigrams = 2 / math.sqrt(6), 1 / math.sqrt(2)
    assert score == pytest.approx(10 / 4 * (unigrams + bigrams) * math.exp(-1 / 72))


def test_a_single_image_scores_nothing_and_a_corpus_mends_that():
    words = ["a", "dog", "on", "grass"]
    assert cider.cider_d([words], [[words]])[0] == 0
    mean, _ = cider.cider_d([words], [[words]], corpus=[[words], [["two", "cats"]]])
    assert mean == pytest.approx(10)


def test_cider_d_refuses_what_cannot_be_scored():
    with pytest.raises(ValueError, match="reference"):
        cider.cider_d([["a"]], [[]])
    with pytest.raises(ValueError, match="2 captions for 1"):
        cider.cider_d([["a"], ["b"]], [[["a"]]])


def test_the_chinese_metric_never_is_a_bare_cider():
    assert caption_metric("ptb") == "CIDEr-D"
    assert caption_metric("zh_char") == "cider_zh_char"
    scores = caption_scores(
        {1: ["一只狗在左。"], 2: ["两只猫！"]}, {1: "一只狗在左", 2: "两只猫"}, "zh_char"
    )
    assert [scores["per_item"][i]["cider"] for i in (1, 2)] == pytest.approx([10, 7.5])


@pytest.mark.parametrize(
    "prediction,answer,lang,strict,lenient",
    [
        ("The Dog.", "dog", "en", True, True),
        ("ＤＯＧ！", "a dog", "en", True, True),
        ("two", "2", "en", True, True),
        ("two dogs", "2 dogs", "en", True, True),
        ("3.5", "35", "en", False, False),
        ("at the top left", "top left", "en", False, True),
        ("yeah", "yes", "en", False, True),
        ("dog", "cat", "en", False, False),
        ("是。", "是", "zh", True, True),
        ("两", "2", "zh", True, True),
        ("十二", "12", "zh", True, True),
        ("两个", "2", "zh", False, True),
        ("红色的", "红色", "zh", False, True),
        ("是的", "是", "zh", False, True),
        ("没有", "不是", "zh", False, True),
        ("沒有", "不是", "zh", False, True),
        ("對", "是", "zh", False, True),
        ("兩隻", "2", "zh", False, True),
        ("兩", "2", "zh", True, True),
        ("在左上角", "左上角", "zh", False, True),
        ("一只 狗，", "一只狗", "zh", True, True),
        ("有", "没有", "zh", False, False),
        # The letter of an option is no article.
        ("A", "A", "en", True, True),
        ("The group", "Group A", "en", False, False),
        # Either script.
        ("紅色", "红色", "zh", True, True),
        ("紅色的", "红色", "zh", False, True),
        ("在左邊", "左边", "zh", False, True),
        ("三塊", "3", "zh", False, True),
        ("為什麼", "为什么", "zh", True, True),
        # One number in several spellings.
        ("1,000", "1000", "en", True, True),
        ("1,000", "1000", "zh", True, True),
        ("50 %", "50%", "en", True, True),
        (".5", "0.5", "zh", True, True),
        ("3：30", "3:30", "zh", True, True),
        ("1–2", "1-2", "en", True, True),
        ("−2", "-2", "zh", True, True),
        ("2, 3", "2,3", "en", True, True),
        ("it’s red", "it's red", "en", True, True),
    ],
)
def test_exact_match(prediction, answer, lang, strict, lenient):
    assert exact_match.matches(prediction, [answer], lang) is strict
    assert exact_match.matches(prediction, [answer], lang, lenient=True) is lenient


@pytest.mark.parametrize("lenient", [False, True])
@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize(
    "one,other",
    [
        ("-2", "2"),
        ("−2", "2"),
        ("是-2", "是2"),
        (".5", "5"),
        ("1/2", "12"),
        ("1/2", "1-2"),
        ("3:30", "330"),
        ("3：30", "330"),
        ("1-2", "12"),
        ("1–2", "12"),
        ("1~2", "12"),
        ("1、2", "12"),
        ("1, 2", "12"),
        ("1 2", "12"),
        ("5'10", "510"),
        ("50%", "50"),
        ("2.5", "25"),
    ],
)
def test_what_belongs_to_a_number_keeps_numbers_apart(one, other, lang, lenient):
    assert not exact_match.matches(one, [other], lang, lenient)
    assert not exact_match.matches(other, [one], lang, lenient)
    assert exact_match.matches(one, [one], lang, lenient)


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("reply", ["", " ", "...", "。"])
def test_an_empty_reply_equals_nothing(reply, lang):
    assert not exact_match.matches(reply, ["A", "the", "...", ""], lang)


@pytest.mark.parametrize(
    "text,lang,reply",
    [
        ("Yes, there is.", "en", True),
        ("No.", "en", False),
        ("there isn't one", "en", False),
        ("I know a dog", "en", None),
        ("是的。", "zh", True),
        ("不是", "zh", False),
        ("没有", "zh", False),
        ("有", "zh", True),
        ("狗", "zh", None),
    ],
)
def test_yes_no_replies(text, lang, reply):
    assert yes_no.parse_yes_no(text, lang=lang) is reply
    assert yes_no.parse_yes_no(text) is reply


def test_an_unreadable_reply_is_no_no_and_arrays_count_as_lists():
    assert yes_no.yes_no_scores([None], [False])["accuracy"] == 0
    said, true = np.array([True, False]), np.array([True, True])
    assert yes_no.yes_no_scores(said, true) == yes_no.yes_no_scores([True, False], [True, True])
    assert yes_no.yes_no_scores(said, true)["recall"] == 0.5


def test_yes_no_scores_count_the_unreadable_as_wrong():
    got = yes_no.yes_no_scores([True, True, False, None], [True, False, False, True])
    assert got == pytest.approx(
        {
            "accuracy": 0.5,
            "precision": 0.5,
            "recall": 0.5,
            "f1": 0.5,
            "yes_share": 0.5,
            "unreadable": 0.25,
        }
    )
