"""Packs, the 50 examples, their selection, and the in-context function."""

import json
from importlib import resources

import pytest

from zv_jax.bmmic.prompts import context, examples, pack
from zv_jax.errors import ConfigError

LANGS = ("en", "zh")


def test_there_is_a_pack_for_each_kind_and_scheme_in_both_languages():
    assert pack.names() == ["concretize", "constraints", "conversation", "deepen", "detail",
                            "reason", "reasoning", "translate"]  # fmt: skip
    for name in pack.names():
        found = pack.load(name)
        assert found.name == name and len(found.hash) == 64
        assert found.label.startswith(f"{name}@{found.version}:")
        assert all("JSON" in found.system[lang] and found.user[lang] for lang in LANGS)


def test_a_changed_word_is_another_hash(tmp_path):
    before = pack.load("detail")
    data = resources.files("zv_jax.bmmic.prompts.packs").joinpath("detail.yaml").read_text("utf-8")
    file = tmp_path / "mine.yaml"
    file.write_text(data.replace("60 to 150", "40 to 100"), encoding="utf-8")
    mine = pack.load(str(file))
    assert mine.name == "detail" and mine.hash != before.hash


@pytest.mark.parametrize(
    "broken", ["name: x", "- a", "name: [", "name: x\nversion: one", "name: &a x\nversion: *a"]
)
def test_a_file_that_is_no_pack_is_an_error(tmp_path, broken):
    file = tmp_path / "mine.yaml"
    file.write_text(broken)
    with pytest.raises(ConfigError, match="no prompt pack"):
        pack.load(str(file))


def test_an_unknown_pack_is_an_error_with_the_nearest_name():
    with pytest.raises(ConfigError, match="did you mean 'detail'"):
        pack.load("detials")


@pytest.mark.parametrize("lang", LANGS)
def test_there_are_25_diverse_examples_of_each_language(lang):
    found = examples.load(lang)
    assert len(found) == 25 and len({e.pair.id for e in found}) == 25
    assert {e.topic for e in found} == {"indoor", "street", "nature", "food", "text", "chart",
                                        "people", "animals"}  # fmt: skip
    kinds = [e.pair.kind for e in found]
    assert all(kinds.count(kind) >= 8 for kind in ("conversation", "detail", "reason"))


@pytest.mark.parametrize("how", sorted(examples.SELECTIONS))
def test_a_selection_is_of_the_kind_repeatable_and_never_the_same_image(how):
    own = examples.load("en")[3].pair
    chosen = examples.select(how, own.kind, "en", own.view, 3, seed=1)
    again = examples.select(how, own.kind, "en", own.view, 3, seed=1)
    assert [e.pair.id for e in chosen] == [e.pair.id for e in again]
    assert len(chosen) == 3 and {e.pair.kind for e in chosen} == {own.kind}
    assert own.view.id not in {e.pair.view.id for e in chosen}
    assert len(examples.select(how, own.kind, "en", own.view, 99)) == 8


def test_the_nearest_example_is_the_last_one_before_the_query():
    cats = next(e for e in examples.load("zh") if e.pair.id == "zh-goldfish-tank")
    view = cats.pair.view
    chosen = examples.select("nearest", "reason", "zh", view, 8)
    assert chosen[-1].topic in ("animals", "indoor", "food")
    with pytest.raises(ConfigError, match="selection of examples"):
        examples.select("closest", "reason", "zh", view, 1)


def test_the_in_context_function_maps_captions_and_boxes_to_a_pair():
    detail, query = pack.load("detail"), examples.load("en")[4].pair.view
    shown = examples.select("fixed", "detail", "en", query, 2)
    messages = context.in_context(detail, "en", shown, query)
    assert [m["role"] for m in messages] == [
        "system",
        "user",
        "assistant",
        "user",
        "assistant",
        "user",
    ]
    assert json.loads(messages[2]["content"])["turns"][0]["answer"] == shown[0].pair.answers[0]
    assert "- People with umbrellas" in messages[-1]["content"]
    assert "umbrella: [0.100, 0.250, 0.250, 0.400]" in messages[-1]["content"]
    conversation = context.in_context(pack.load("conversation"), "en", (), query)
    assert "[0.1" not in conversation[-1]["content"], "captions only"


def test_a_translation_numbers_its_rows():
    messages = context.translation(pack.load("translate"), "zh", [("q1", "a1"), ("q2", "a2")])
    assert json.loads(messages[-1]["content"])["rows"][1] == {"i": 1, "q": "q2", "a": "a2"}
