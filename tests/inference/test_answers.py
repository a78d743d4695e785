"""Words that end an answer, wherever a stream is cut."""

import itertools

import numpy as np
import pytest

from zv_jax.inference.answers import Growing, settled
from zv_jax.models.prompt import FORMATS, PromptConfig

ZIYA, PLAIN = PromptConfig(), PromptConfig(format="plain")


@pytest.mark.parametrize("longest", [5, pytest.param(6, marks=pytest.mark.slow)])
@pytest.mark.parametrize("prompt", [ZIYA, PLAIN])
def test_at_every_cut_only_what_stays_is_shown(prompt, longest):
    """All texts of up to `longest` of these pieces, some of which begin a stop word or are one."""
    stops = ("。\n", "ab c", "aa")
    pieces = ["a", "b", " c", "。", "\n", "图"]
    for size in range(1, longest + 1):
        for text in map("".join, itertools.product(pieces, repeat=size)):
            whole = prompt.heard(text, stops)
            shown = [settled(text[:end], prompt, stops) for end in range(len(text) + 1)]
            assert all(whole.startswith(part) for part in shown), (text, shown)
            assert all(b.startswith(a) for a, b in itertools.pairwise(shown)), (text, shown)
            assert not any(stop in whole for stop in stops)


def test_an_answer_ends_at_the_first_of_all_words():
    own = FORMATS["ziya"].stop
    assert ZIYA.heard(f" red### blue{own}x", ["###"]) == "red"
    assert ZIYA.heard(f"red{own} blue###", ["###"]) == "red"
    assert PLAIN.heard(f"red{own} blue", []) == f"red{own} blue"


def test_half_a_character_is_not_shown():
    assert settled("图\ufffd", ZIYA, ()) == "图"


@pytest.fixture(scope="module")
def talker(model):
    return model("stage2", "chat")


ASK = ["What is in the picture?", "图里有什么？"]


def test_stop_words_end_answers_and_conversations(talker, shown):
    from zv_jax import Beam, Chat, Sample

    images = [shown[:1], shown[1:2]]
    free = talker.answer(ASK, images, 8)
    word = free[0].split()[-1][:2] if free[0] else ""
    assert word
    for decoding in (Sample(1.0, seed=3), Beam(2)):
        plain = talker.answer(ASK, images, 8, decoding=decoding)
        cut = talker.answer(ASK, images, 8, decoding=decoding, stop=[word])
        assert cut == [text.partition(word)[0].strip() for text in plain]
    chat = Chat(talker, max_new_tokens=8, stop=[word])
    assert "".join(chat.stream(ASK[0], shown[:1])) == free[0].partition(word)[0].strip()


@pytest.mark.slow
def test_candidates_are_the_sequences_as_texts(talker, shown):
    from zv_jax import Beam, Sample

    inputs = talker.processor(ASK, [shown[:1], shown[1:2]], max_new_tokens=6)
    for decoding in (Beam(4, n=3), Sample(1.5, seed=3, n=3)):
        rows = talker.candidates(ASK, [shown[:1], shown[1:2]], 6, decoding=decoding)
        found = talker.sequences(inputs, decoding, max_new_tokens=6)
        assert found.tokens.shape == found.logprobs.shape == (2, 3, 6)
        for i, row in enumerate(rows):
            assert len(row) == 3
            for j, answer in enumerate(row):
                size = len(answer.ids)
                np.testing.assert_array_equal(answer.ids, found.tokens[i, j, :size])
                np.testing.assert_allclose(answer.logprobs, found.logprobs[i, j, :size], atol=1e-5)
        best = talker.answer(ASK, [shown[:1], shown[1:2]], 6, decoding=decoding)
        assert best == [row[0].text for row in rows]
    few = talker.candidates(ASK[:1], [shown[:1]], decoding=Beam(4, n=4), choices=["red", "two"])
    assert {answer.text for answer in few[0]} == {"red", "two"}
    assert few[0][0].score >= few[0][1].score


def test_an_answer_grows_by_what_is_final_and_ends_once(talker):
    tokenizer, prompt = talker.tokenizer, ZIYA
    ids = tokenizer.encode(" two three left right")
    growing = Growing(tokenizer, prompt, ["left"])
    pieces = []
    for token in ids:
        if not growing.ended:
            pieces.append(growing.add(token))
    assert growing.ended and "".join(pieces) == growing.text == "two three"
    assert growing.finish() == ""
    cut = Growing(tokenizer, prompt, ["left right and on"])
    assert "".join(map(cut.add, ids)) == "two three"  # the stop word may still come
    assert cut.finish() == " left right" and not cut.ended
