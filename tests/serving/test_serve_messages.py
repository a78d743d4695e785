"""OpenAI's messages as exchanges."""

import pytest
from asked import assistant, uri, user

pytest.importorskip("fastapi")

from zv_jax.data.text import tokenizers
from zv_jax.data.text.dialogue import Exchange
from zv_jax.inference.decoding import Greedy, Sample
from zv_jax.inference.model import SEEDS_APART
from zv_jax.models.prompt import ZIYA
from zv_jax.serving.asking import decodings
from zv_jax.serving.messages import dialogue_of
from zv_jax.serving.requests import ChatRequest


def of(*messages):
    body = ChatRequest.model_validate({"model": "tiny", "messages": list(messages)})
    return dialogue_of(body.messages)


def test_images_are_numbered_through_all_turns():
    found = of(user("A?", b"1", b"2"), assistant("a"), user("B?"), assistant("b"), user("C?", b"3"))
    assert found.turns == (
        Exchange("A?", "a", (0, 1)),
        Exchange("B?", "b", ()),
        Exchange("C?", None, (2,)),
    )
    assert [image.url for image in found.images] == [uri(b"1"), uri(b"2"), uri(b"3")]
    assert found.images[2].where == "messages[4].content[0].image_url"


def test_texts_of_one_turn_are_lines_of_its_question():
    parts = [{"type": "text", "text": "图里有什么？"}, {"type": "text", "text": "Where?<image>"}]
    found = of({"role": "user", "content": parts}, user("Why?"))
    assert found.turns == (Exchange("图里有什么？\nWhere?\nWhy?"),)


def test_system_text_belongs_to_the_next_question():
    system = {"role": "system", "content": "用中文回答。"}
    found = of(system, user("Where?"), assistant("Here."), user("Why?"))
    assert found.turns[0] == Exchange("Where?", "Here.", system="用中文回答。")
    assert found.turns[1] == Exchange("Why?")
    found = of(user("Where?"), assistant("Here."), {**system, "role": "developer"}, user("Why?"))
    assert found.turns[1] == Exchange("Why?", system="用中文回答。")


def test_it_is_a_line_above_the_question_in_formats_without_words_for_it():
    """And the Q-Former reads the question alone."""
    asked = "<human>:用中文回答。\nWhy?\n<bot>:"
    assert "".join(ZIYA.pieces("Why?", system="用中文回答。")) == asked
    assert "".join(ZIYA.pieces("", system="用中文回答。")) == "<human>:用中文回答。\n<bot>:"


def methods(**fields):
    body = {"model": "tiny", "messages": [user("Where?")]} | fields
    return decodings(ChatRequest.model_validate(body), 8)


def test_answers_are_drawn_only_where_a_field_asks_for_it():
    for fields in ({}, {"temperature": 0}, {"temperature": 0, "top_p": 0.5}, {"top_p": 1}):
        assert methods(**fields) == [Greedy()]
    assert methods(seed=3, repetition_penalty=1.5) == [Greedy(repetition_penalty=1.5)]
    assert methods(top_p=0.5, seed=3) == [Sample(1.0, top_p=0.5, seed=3)]
    assert methods(temperature=0.5, min_p=0.1, seed=-1) == [Sample(0.5, min_p=0.1, seed=2**32 - 1)]
    assert [m.seed for m in methods(n=3, seed=5)] == [5 + SEEDS_APART * i for i in range(3)]
    assert methods(temperature=1) != methods(temperature=1)


def test_the_spelling_of_tokens(tmp_path):
    tokenizer = tokenizers.train_sentencepiece(["What is in the picture?"], 300, tmp_path)
    for text in ("What is in", "图😀", "the  picture\n"):
        spelled = b"".join(map(tokenizer.spelling, tokenizer.encode(text)))
        assert spelled.decode().removeprefix(" ") == text
    assert tokenizer.spelling(tokenizer.eos_id) == b"</s>"
    assert tokenizer.spelling(10_000) == b""
