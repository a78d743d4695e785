"""What people type first: one text where a list belongs, the name of a hub, a model at a prompt."""

import pytest

import zv_jax
from zv_jax.errors import CheckpointError, DataError


@pytest.mark.parametrize(
    ("call", "name"),
    [
        (lambda m: m.answer("What is here?"), "prompts"),
        (lambda m: m.answer(["What is here?"], "a.png"), "images"),
        (lambda m: m.answer(["What is here?"], choices="yes"), "choices"),
        (lambda m: m.candidates("What is here?", [["a.png"]]), "prompts"),
        (lambda m: m.rank("What is here?", [["yes", "no"]]), "prompts"),
        (lambda m: m.rank(["What is here?"], ["yes"]), "choices"),
        (lambda m: m.rank(["What is here?"], [["yes", "no"]], "a.png"), "images"),
        (lambda m: m.processor(texts="What is here?"), "prompts"),
        (lambda m: m.attention_maps("a.png"), "images"),
        (lambda m: zv_jax.Chat(m).ask("What is here?", images="a.png"), "images"),
    ],
)
def test_one_text_where_a_list_belongs_is_named_with_the_right_form(model, call, name):
    with pytest.raises(DataError) as caught:
        call(model("stage2", "chat"))
    assert caught.value.where == name
    assert "a list such as [" in caught.value.expected


def test_a_path_for_several_images_is_named_by_retrieval_too(model, tmp_path):
    retrieval = model("stage0", "base")
    for call in (
        lambda: retrieval.embed_images(tmp_path / "a.png"),
        lambda: retrieval.embed_texts("a hat"),
        lambda: retrieval.match("a.png", "a hat"),
    ):
        with pytest.raises(DataError, match="and no list"):
            call()


def test_a_model_says_what_it_is_and_how_big(model):
    shown = repr(model("stage2", "chat"))
    assert shown.startswith("<zv_jax.Model tiny_chat, stage2, step 1: ")
    assert "parameters" in shown and "GiB in float32" in shown and "llm" in shown


def test_the_name_of_a_hub_is_not_downloaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        zv_jax.from_pretrained("org/name")
    assert "hf download org/name --local-dir name" in caught.value.fix
