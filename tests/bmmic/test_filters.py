"""The detector on the labelled set, and its filters one by one where a sentence says most."""

import dataclasses
from pathlib import Path

import pytest

from zv_jax.bmmic import pair as pairs
from zv_jax.bmmic.filters import concepts, measure
from zv_jax.bmmic.filters.detector import NAMES, Detector, Settings
from zv_jax.bmmic.pair import Pair
from zv_jax.bmmic.prompts import examples
from zv_jax.bmmic.view import View
from zv_jax.data.records.record import ImageRef, Object

LABELLED = Path(__file__).parent / "labelled"
TWELVE = [name for name in NAMES if name != "rewriting"]


@pytest.fixture(scope="module")
def scores():
    return {part: measure.measure(LABELLED, [part]) for part in ("tuned", "held_out")}


@pytest.mark.parametrize("lang", ["en", "zh"])
@pytest.mark.parametrize("name", NAMES)
def test_every_filter_finds_its_faults_and_spares_good_pairs(scores, name, lang):
    score = scores["tuned"][name, lang]
    assert score.recall >= 0.95 and score.false_drops <= 0.05, score.mistakes


@pytest.mark.parametrize("lang", ["en", "zh"])
def test_so_does_the_detector_on_pairs_that_nothing_was_tuned_on(scores, lang):
    score = scores["held_out"]["any", lang]
    assert score.recall >= 0.95 and score.false_drops <= 0.05, score.mistakes


def test_the_set_has_good_and_bad_pairs_of_every_filter_in_both_languages():
    rows = [(label, pair) for part in ("tuned", "held_out")
            for _, label, pair in measure.read(LABELLED, part)]  # fmt: skip
    assert len(rows) >= 400
    for lang in ("en", "zh"):
        labels = [label for label, pair in rows if pair.lang == lang]
        assert labels.count("good") >= 100
        assert all(labels.count(name) >= 8 for name in TWELVE), lang


def test_the_in_context_examples_pass():
    detector = Detector()
    for lang in ("en", "zh"):
        for example in examples.load(lang):
            verdict = detector.judge(example.pair)
            assert verdict.kept, (example.pair.id, verdict)


def test_counts_and_samples_say_what_was_dropped():
    detector = Detector(Settings(samples=1))
    for n in range(3):
        detector.judge(pair("What is it?", "I'm sorry, but I cannot tell.", name=f"p{n}"))
    report = detector.report()
    assert report["schema"]["seen"] == report["meta_talk"]["dropped"] == 3
    assert report["boxes"]["seen"] == 0, "a dropped pair goes no further"
    (sample,) = report["meta_talk"]["samples"]
    assert sample["id"] == "p0" and "sorry" in sample["why"]
    assert detector.report()["schema"]["seen"] == 0, "counting begins anew"


def test_a_translated_question_with_several_answers_may_show_its_image_with_each():
    source = ("<image>What is it?", "a dog", "<image>What is it?", "dog")
    turns = ("<image>这是什么？", "一只狗", "<image>这是什么？", "狗")
    made = Pair("x", "zh", "translate", pairs.turns(*turns), view(), source=pairs.turns(*source))
    assert Detector().judge(made).kept
    alone = dataclasses.replace(made, source=())
    assert Detector().judge(alone).filter == "schema"


def test_a_filter_can_be_off_and_a_threshold_another():
    question = pair("Why?", "It is a dog.")
    assert Detector().judge(question).filter == "length"
    assert Detector(Settings(off=("length",))).judge(question).kept
    shorter = dataclasses.replace(Settings().length, min_question_en=1)
    assert Detector(Settings(length=shorter)).judge(question).kept


def view(**fields):
    things = (
        Object((0.1, 0.5, 0.3, 0.9), "dog", tag_zh="狗"),
        Object((0.6, 0.5, 0.9, 0.9), "car", tag_zh="汽车"),
    )
    own = {"captions": {"en": ("A dog sits next to a parked car.",), "zh": ("一只狗坐在汽车旁。",)},
           "objects": things, "exhaustive": True, "licence": "CC0"}  # fmt: skip
    return View("test/1", ImageRef(path="1.png"), **{**own, **fields})


def pair(question, answer, lang="en", kind="conversation", name="test/1#a", **fields):
    return Pair(name, lang, kind, pairs.turns(question, answer), view(), **fields)


@pytest.mark.parametrize(
    ("question", "answer", "lang"),
    [
        ("What is in the image?", "There is no cat, only a dog and a car.", "en"),
        ("What does the car look like?", "It is shaped like a boat.", "en"),
        ("What does the sign say?", 'It says "Sorry, no pizza today".', "en"),
        ("Is the dog near the bus stop?", "That cannot be seen; it sits next to a car.", "en"),
        ("图中有什么？", "图中没有猫，只有狗和汽车。", "zh"),
        ("狗在马路上吗？", "是的，它坐在马路上，旁边是汽车。", "zh"),
        ("云像什么？", "云像一只羊。", "zh"),
    ],
)
def test_what_is_denied_compared_or_quoted_is_no_claim(question, answer, lang):
    verdict = Detector().judge(pair(question, answer, lang))
    assert verdict.kept, verdict


@pytest.mark.parametrize(
    ("question", "answer", "lang", "filter_"),
    [
        ("What is next to the dog?", "A cat sits next to the dog.", "en", "objects"),
        ("How many dogs are there?", "Three.", "en", "counts"),
        ("Where is the car?", "The car is to the left of the dog.", "en", "spatial"),
        ("狗旁边是什么？", "狗旁边是一只猫。", "zh", "objects"),
        ("有几只狗？", "三只。", "zh", "counts"),
        ("汽车在哪里？", "汽车在狗的左边。", "zh", "spatial"),
    ],
)
def test_what_the_view_denies_is_dropped(question, answer, lang, filter_):
    assert Detector().judge(pair(question, answer, lang)).filter == filter_


def test_names_are_one_table_in_both_directions():
    assert concepts.of_label("teddy bear", "en") == "teddy_bear"
    assert concepts.of_label("泰迪熊", "zh") == "teddy_bear"
    assert concepts.chinese_name("traffic light") == "红绿灯"
    assert concepts.is_a("dog", "animal") and not concepts.is_a("animal", "dog")
    parents = concepts.table().parents
    assert all(above in parents for kinds in parents.values() for above in kinds)
    implied = {c for found in concepts.table().implies.values() for c in found}
    assert implied <= parents.keys()


def test_the_same_pair_about_an_image_is_found_again():
    detector = Detector()
    one = pair("What is next to the dog?", "A parked car is next to the dog.")
    assert detector.judge(one).kept
    assert detector.judge(dataclasses.replace(one, id="again")).filter == "duplicates"
    other = dataclasses.replace(one, view=dataclasses.replace(view(), id="test/2"))
    assert detector.judge(other).kept, "a short answer may hold of two images"


@pytest.mark.parametrize("page", ["docs/bmmic.md", "docs/zh/bmmic.md"])
@pytest.mark.parametrize("part", ["tuned", "held_out"])
def test_the_documentation_shows_these_figures(scores, page, part):
    text = (LABELLED.parents[2] / page).read_text("utf-8")
    for name, *cells in measure.rows(scores[part]):
        assert f"| `{name}` | {' | '.join(cells)} |" in text, name
