"""The sentences of the embedded data: grammatical, true, and the same facts in both languages."""

import random
import re
from collections import Counter

import pytest

from zv_jax.data.openmoji import concepts as concepts_lib
from zv_jax.data.openmoji import facts, scenes, sentences_en, sentences_zh, tasks
from zv_jax.data.openmoji.concepts import COLOURS, PLACES, load_concepts
from zv_jax.data.openmoji.scene import SIZE_KEYS, Placed, Scene
from zv_jax.data.pipeline import symbols
from zv_jax.data.records.record import ImageRef, from_json, to_json
from zv_jax.errors import DataError

COUNT = 250
SAY = {"en": sentences_en, "zh": sentences_zh}
EN_NUMBER = {word: n for n, word in enumerate(sentences_en.NUMBERS)}
ZH_NUMBER = {word: n for n, word in enumerate(sentences_zh.NUMBERS)}


def image(scene):
    return ImageRef(shard_key=scene.id, width=128, height=128)


def written(scene, lang, others=(), seed=0):
    return tasks.scene_records(scene, image(scene), lang, random.Random(f"{seed}{lang}"), others)


@pytest.fixture(scope="module")
def drawn():
    return scenes.sample_scenes("train", COUNT, 5, load_concepts("everyday"), tuple(COLOURS))


@pytest.fixture(scope="module")
def made(drawn):
    """[(scene, records in English, records in Chinese)]"""
    rows = []
    for i, scene in enumerate(drawn):
        near = [drawn[(i + k) % COUNT] for k in (1, 2, 3)]
        others = [(s, image(s)) for s in near]
        rows.append((scene, written(scene, "en", others), written(scene, "zh", others)))
    return rows


def each(made, lang, kind=None):
    for scene, en, zh in made:
        for record in en if lang == "en" else zh:
            if kind is None or record.meta["question_type"] == kind:
                yield scene, record


def question(record, turn=0):
    return record.turns[2 * turn].text.replace("<image>", "")


def answer(record, turn=-1):
    return [t.text for t in record.turns if t.role == "assistant"][turn]


def concept(record):
    by_key = {c.key: c for c in load_concepts("everyday")}
    return by_key[record.meta["about"][0]]


# Form.


def test_records_survive_json_and_have_unique_ids(made):
    seen = Counter()
    for lang in SAY:
        for scene, record in each(made, lang):
            assert from_json(to_json(record), "test:1") == record
            seen[record.id] += 1
            assert record.lang == lang and record.split == scene.split
            assert record.id.startswith(scene.id)
            assert len(record.turns) % 2 == 0
            assert [t.role for t in record.turns] == ["user", "assistant"] * (
                len(record.turns) // 2
            )
            assert sum(t.text.count("<image>") for t in record.turns) == len(record.images)
            assert record.turns[0].text.startswith("<image>")
            if record.task != "caption":
                assert record.weights in (None, (1.0,) + (0.0,) * (len(record.answers) - 1))
                assert record.answers[0] == answer(record)
                assert len(set(record.answers)) == len(record.answers)
            text = " ".join(t.text for t in record.turns)
            assert set(re.findall(r"<[^>]*>", text)) <= {"<image>", "<obj_0>"}
            assert len(record.objects) == ("<obj_0>" in text)
    assert max(seen.values()) == 1


def test_every_task_and_flow_in_both_languages(made):
    expected = {
        "caption",
        "detail",
        "vqa",
        "ref_ground",
        "ref_caption",
        "mc_vqa",
        "conversation",
        "reason",
    }
    kinds = {}
    for lang in SAY:
        assert {r.task for _, r in each(made, lang)} == expected
        kinds[lang] = Counter((r.task, r.meta["question_type"]) for _, r in each(made, lang))
    assert kinds["en"] == kinds["zh"]
    names = {kind for _, kind in kinds["en"]}
    assert {
        "what",
        "where",
        "how_many",
        "colour",
        "yes_no",
        "food",
        "look",
        "find",
        "find_box",
    } <= names
    assert {"count", "story_together", "story_in_turn", "eat", "more", "odd", "mc_where"} <= names


def test_both_languages_state_the_same_facts(made):
    for _, en, zh in made:
        for a, b in zip(en, zh, strict=True):
            assert a.id.replace("#en-", "#zh-") == b.id
            assert [o.box for o in a.objects] == [o.box for o in b.objects]
            assert a.images == b.images and a.answer_index == b.answer_index
            assert {**a.meta, "views": 0} == {**b.meta, "views": 0}
            for one, other in zip(a.meta["views"], b.meta["views"], strict=True):
                assert [box for _, box in one["objects"]] == [box for _, box in other["objects"]]


def test_views_name_everything_in_the_pictures_in_reading_order(made):
    for scene, *both in made:
        for records in both:
            for record in records:
                assert len(record.meta["views"]) == len(record.images)
                mine = [
                    v
                    for v, i in zip(record.meta["views"], record.images, strict=True)
                    if i == records[0].images[0]
                ]
                for view in mine:
                    boxes = sorted(box for _, box in view["objects"])
                    assert boxes == sorted(list(p.box) for p in scene.objects)
                    names = " ".join(label for label, _ in view["objects"])
                    for placed in scene.objects:  # in both languages: a picture has none
                        assert placed.concept.en in names and placed.concept.zh in names


def test_views_say_which_objects_were_asked_about(made):
    for _, *both in made:
        for record in (r for records in both for r in records):
            (view, *_) = record.meta["views"]
            kind, asked = record.meta["question_type"], view["asked"]
            if record.task in ("ref_ground", "ref_caption"):
                (index,) = asked
                assert view["objects"][index][1] == list(record.objects[0].box)
            elif record.task == "vqa" and kind in ("what", "where"):
                assert len(asked) == 1
            elif kind == "colour":
                assert asked == []
            elif record.task in ("caption", "detail", "conversation"):
                assert asked is None


def test_a_narrow_view_leaves_out_what_was_not_asked_about(made):
    """The background stays, as do all four sides of an object that was asked about."""
    for _, *both in made:
        for record in (r for records in both for r in records if r.task == "ref_ground"):
            (whole,), (narrow,) = (
                symbols.symbolic_views(record, 2, only) for only in (False, True)
            )
            assert narrow[0] == whole[0] and len(narrow) == 5
            assert set(narrow) <= set(whole)


def test_wording_follows_the_generator_and_facts_do_not(drawn):
    assert written(drawn[0], "en", seed=1) == written(drawn[0], "en", seed=1)
    many = {tuple(t.text for t in written(drawn[0], "en", seed=s)[0].turns) for s in range(12)}
    assert len(many) > 3
    assert {
        tuple(r.objects for r in written(drawn[0], "en", seed=s)) for s in range(6)
    }.__len__() == 1


def test_grammar(made):
    for _, record in each(made, "en"):
        text = " ".join([t.text for t in record.turns] + list(record.answers))
        assert not re.search(r"\ba (?!u)[aeiou]\w", text), text
        assert not re.search(r"\ban [^aeiou]", text), text
        assert "  " not in text and text == text.lower()
        for c in load_concepts("everyday"):
            assert not re.search(rf"\b(a|an|one) {c.en_plural}\b", text), text
            assert not re.search(rf"\b(two|three|four) {c.en}\b", text), text
    for _, record in each(made, "zh"):
        text = " ".join([t.text for t in record.turns] + list(record.answers))
        assert "二" not in text.replace("第二", ""), text
        assert not re.search(r"第两|[,?!]", re.sub(r"\([abc]\)", "", text)), text
        for n, unit, noun in re.findall(r"([一两三四])([一-龥])([一-龥T]{1,4})", text):
            known = {c.zh: c.zh_measure for c in load_concepts("everyday")}
            for name, measure in known.items():
                if noun == name:
                    assert unit == measure, (n, unit, noun)


def test_captions_are_short_and_say_every_count(made):
    english = [r for _, r in each(made, "en", "caption")]
    chinese = [r for _, r in each(made, "zh", "caption")]
    assert sum(len(r.answers[0].split()) <= 20 for r in english) > 0.85 * len(english)
    assert sum(len(r.answers[0]) <= 30 for r in chinese) > 0.85 * len(chinese)
    for lang, say in SAY.items():
        for scene, record in each(made, lang, "caption"):
            assert answer(record) in record.answers
            for text in record.answers:
                assert say.colour(scene.canvas) in text
                for group in facts.groups(scene):
                    assert say.counted(group.concept, group.count) in text
            for placed in scene.objects:
                if [p.concept for p in scene.objects].count(placed.concept) == 1:
                    assert say.place_name(placed.place) in record.answers[0]


# Truth, recomputed from the words.


@pytest.mark.parametrize("lang", SAY)
def test_what_and_where_are_true(made, lang):
    index = 0 if lang == "en" else 1
    # Longest names first: "top left" holds "top".
    places = sorted(
        ((names[index], key) for key, names in PLACES.items()), key=lambda p: -len(p[0])
    )
    for scene, record in each(made, lang, "what"):
        place = next(key for name, key in places if name in question(record))
        there = [p.concept for p in scene.objects if p.place == place]
        assert [SAY[lang].counted(c) for c in there] == [answer(record)]
    for scene, record in each(made, lang, "where"):
        place = next(key for name, key in places if name == answer(record))
        same = [p for p in scene.objects if p.concept == concept(record)]
        if len(same) > 1:  # then the size tells which
            names = concepts_lib.SIZES
            size = next(s for s in SIZE_KEYS if names[s][index] in question(record))
            same = [p for p in same if p.size == size]
        assert [p.place for p in same] == [place]


@pytest.mark.parametrize("lang", SAY)
def test_numbers_are_true(made, lang):
    numbers = EN_NUMBER if lang == "en" else ZH_NUMBER
    for scene, record in each(made, lang, "how_many"):
        said = answer(record) if lang == "en" else answer(record)[0]
        name = concept(record).en_plural if lang == "en" else concept(record).zh
        assert name in question(record)
        assert numbers[said] == sum(p.concept == concept(record) for p in scene.objects)
    for scene, record in each(made, lang, "how_many_in_all"):
        said = answer(record) if lang == "en" else answer(record)[0]
        assert numbers[said] == len(scene.objects)


@pytest.mark.parametrize("lang", SAY)
def test_yes_no_and_food_are_true_and_balanced(made, lang):
    yes = {"en": ("yes",), "zh": ("有", "是")}[lang]
    for kind in ("yes_no", "food"):
        said = Counter()
        for scene, record in each(made, lang, kind):
            true = answer(record) in yes
            said[true] += 1
            here = [p.concept.key for p in scene.objects]
            if kind == "yes_no":
                assert (concept(record).key in here) == true
            else:
                assert concept(record).is_food == true
        assert said[True] == said[False] > 25


@pytest.mark.parametrize("lang", SAY)
def test_boxes_belong_to_what_is_named(made, lang):
    for kind in ("ground", "region", "find_box"):
        for scene, record in each(made, lang, kind):
            placed = next(p for p in scene.objects if p.box == record.objects[0].box)
            assert placed.concept == concept(record)
            name = placed.concept.en if lang == "en" else placed.concept.zh
            assert record.objects[0].label == name
            if kind == "region":
                assert answer(record) == SAY[lang].counted(placed.concept)
            else:
                assert answer(record) == "<obj_0>" and name in question(record)
                same = [p for p in scene.objects if p.concept == placed.concept]
                unique = len(same) == 1 or [p.size for p in same].count(placed.size) == 1
                assert unique


@pytest.mark.parametrize("lang", SAY)
def test_multiple_choice_has_one_right_option(made, lang):
    positions = Counter()
    for scene, record in each(made, lang):
        if record.task != "mc_vqa":
            continue
        positions[record.answer_index] += 1
        assert record.choices[record.answer_index] == answer(record)
        assert len(set(record.choices)) == 3
        lettered = " ".join(f"({x}) {o}" for x, o in zip("abc", record.choices, strict=True))
        assert question(record).endswith(lettered)
        if record.meta["question_type"] == "mc_colour":
            assert answer(record) == SAY[lang].colour(scene.canvas)
    assert min(positions.values()) > COUNT // 5


def test_stories_name_the_right_picture(made, drawn):
    by_id = {s.id: s for s in drawn}
    asked = 0
    for _, record in each(made, "zh"):
        if not record.meta["question_type"].startswith("story"):
            continue
        pair = [by_id[ref.shard_key] for ref in record.images]
        for i in range(len(record.turns) // 2):
            said = answer(record, i)
            if said in ("第一张", "第二张"):
                asked += 1
                mine = pair[said == "第二张"]
                other = pair[said != "第二张"]
                names = [{p.concept.zh for p in s.objects} for s in (mine, other)]
                pattern = r"里有(.+)？|^(.+)在哪张"
                name = "".join(filter(None, re.search(pattern, question(record, i)).groups()))
                assert name in names[0] - names[1]
    assert asked > COUNT


def test_reasons_are_true(made):
    for scene, record in each(made, "en", "eat"):
        eaten = [p for p in scene.objects if p.concept.is_food]
        assert answer(record).startswith("nothing") == (not eaten)
        for p in scene.objects:
            named = p.concept.en in answer(record) or p.concept.en_plural in answer(record)
            assert named == p.concept.is_food
    for scene, record in each(made, "en", "more"):
        more, fewer = re.search(r"more (.+) than (.+?)(?:\?|, and)", question(record)).groups()
        count = Counter(p.concept.en_plural for p in scene.objects)
        assert answer(record).startswith("yes") == (count[more] > count[fewer])
    for scene, record in each(made, "en", "odd"):
        kinds = Counter({p.concept.key: p.concept.category for p in scene.objects}.values())
        odd = {
            p.concept.category
            for p in scene.objects
            if p.concept.en in answer(record).split(",")[0]
        }
        assert any(kinds[k] == 1 for k in odd)


# Edges.


def test_a_side_is_not_asked_for_when_its_corner_is_taken():
    dog, cat = load_concepts("everyday")[:2]
    box = (0.1, 0.1, 0.2, 0.2)
    scene = Scene(
        "zv_openmoji/test/0",
        "test",
        "red",
        (Placed(dog, box, "top left", "small"), Placed(cat, box, "top", "small")),
    )
    assert [p.place for p in facts.clear_places(scene)] == ["top left"]


def test_twins_of_one_size_are_never_asked_for():
    dog = load_concepts("everyday")[0]
    twins = tuple(
        Placed(dog, (0.1, 0.1, x, x), place, "small") for x, place in ((0.2, "top"), (0.3, "left"))
    )
    scene = Scene("zv_openmoji/test/1", "test", "red", twins)
    assert facts.referents(scene) == []
    for lang in SAY:
        assert not {"where", "ground", "find"} & {
            r.meta["question_type"] for r in written(scene, lang)
        }


def test_all_concepts_can_be_written_about():
    for scene in scenes.sample_scenes("train", 60, 1, load_concepts("all"), tuple(COLOURS)):
        for lang in SAY:
            for record in written(scene, lang):
                assert from_json(to_json(record)) == record


def test_wrong_calls_say_what_to_do(drawn):
    with pytest.raises(DataError, match="unknown language 'fr'"):
        written(drawn[0], "fr")
    with pytest.raises(DataError, match="without pictures"):
        written(Scene("x/test/0", "test", "red", ()), "en")
