"""Searches go on beside the slots and find what the model finds alone."""

import copy
import functools
import threading

import jax
import jax.numpy as jnp
import pytest
from asked import NAME, chat, user
from hearing import NEW, Heard, job

from zv_jax.errors import ConfigError, DataError
from zv_jax.inference.decoding import Beam, Greedy, from_keywords
from zv_jax.serving.engine import Engine
from zv_jax.serving.jobs import Ended, Failed, Piece

QUESTION = "图里有什么？"
CHOICES = ["a red square", "two", "图", "图里有什么", "left"]


@pytest.fixture(scope="module")
def talker(model):
    return model()


@pytest.fixture(scope="module")
def engine(talker):
    with Engine(talker, slots=2, max_new_tokens=NEW, beams=(3,)) as running:
        yield running


def found(engine, searched):
    """The texts, ids and ends of a search, the best first."""
    heard = Heard(engine, searched)
    events = [heard.events.get(timeout=60)]
    while not isinstance(events[-1], Ended) or events[-1].left:
        events.append(heard.events.get(timeout=60))
    pieces, ends = events[::2], events[1::2]
    assert all(isinstance(piece, Piece) for piece in pieces)
    assert [end.index for end in ends] == [piece.index for piece in pieces]
    return [p.text for p in pieces], [list(p.ids) for p in pieces], [end.reason for end in ends]


@pytest.mark.parametrize("new", [1, NEW])
@pytest.mark.parametrize(
    "method", [Beam(3, n=3), Beam(3, 0.0, repetition_penalty=1.5, n=2), Beam(3, -1.0, 1)]
)
def test_a_search_finds_what_the_model_finds_while_others_answer(
    engine, talker, shown, method, new
):
    greedy = Heard(engine, job(talker, shown, QUESTION, (1,)))
    texts, ids, _ = found(engine, job(talker, shown, QUESTION, (1,), method, max_new_tokens=new))
    expected = talker.candidates([QUESTION], [[shown[1]]], new, decoding=method)[0]
    assert texts == [answer.text for answer in expected]
    assert ids == [answer.ids.tolist() for answer in expected]
    assert [greedy.all()[0]] == talker.answer([QUESTION], [[shown[1]]], NEW)


@pytest.mark.parametrize("method", [Greedy(), Beam(3, 0.0, n=2)])
def test_an_answer_from_a_list_is_the_models(engine, talker, shown, method):
    method = from_keywords(method, {}, True)
    searched = job(talker, shown, QUESTION, (0,), method, trie=talker.tree(CHOICES))
    texts = found(engine, searched)[0]
    expected = talker.candidates([QUESTION], [[shown[0]]], decoding=method, choices=CHOICES)[0]
    assert texts == [answer.text for answer in expected]
    assert set(texts) <= set(CHOICES)


def test_logprobs_of_a_search_are_those_of_the_model(engine, talker, shown):
    heard = Heard(engine, job(talker, shown, QUESTION, (0,), Beam(3), logprobs=True))
    piece = heard.events.get(timeout=60)
    (answer,) = talker.candidates([QUESTION], [[shown[0]]], NEW, decoding=Beam(3))[0]
    assert piece.logprobs == pytest.approx(answer.logprobs.tolist(), abs=1e-4)


def test_a_cancelled_search_makes_room_for_the_next(engine, talker, shown):
    long = job(talker, shown, QUESTION, (1,), Beam(3, min_new_tokens=NEW - 1))
    expected = found(engine, long)
    heard = [Heard(engine, long) for _ in range(3)]
    heard[0].ticket.cancel()
    heard[1].ticket.cancel()
    assert heard[2].all()[:2] == (expected[0][0], expected[1][0])
    assert {one.all()[2].reason for one in heard[:2]} <= {"cancelled", "length", "stop"}
    assert engine.running == engine.waiting == 0


def test_searches_compile_nothing_once_the_engine_is_ready(engine, talker, shown):
    before = engine.compiled
    for method in (Beam(3), Beam(3, 0.5, 2, 1.2, n=2)):
        found(engine, job(talker, shown, QUESTION, (0,), method, max_new_tokens=5))
    assert engine.compiled == before


def test_what_cannot_be_searched_is_refused(engine, talker, shown):
    with pytest.raises(ConfigError, match="4 beams"):
        engine.submit(job(talker, shown, QUESTION, (0,), Beam(4)), print)
    with pytest.raises(ConfigError, match="1 beams"):
        engine.submit(job(talker, shown, QUESTION, (0,), Beam(1)), print)
    long = functools.partial(job, talker, shown, QUESTION, (0,), Beam(1))
    with pytest.raises(DataError, match="an answer of .* tokens"):
        engine.submit(long(trie=talker.tree(["two " * 40])), print)
    with pytest.raises(ConfigError, match="min_new_tokens 3 with choices"):
        short = Beam(1, min_new_tokens=3)
        engine.submit(job(talker, shown, QUESTION, (0,), short, trie=talker.tree(["two"])), print)
    many = [f"{a} {b}" for a in "abcdefghijklmnopqrstuvwxyz" * 3 for b in range(100)]
    with pytest.raises(DataError, match="tokens in all"):
        engine.submit(long(trie=talker.tree(many)), print)


def test_weights_that_are_no_numbers_fail_the_search_and_not_the_engine(talker, shown):
    broken = copy.copy(talker)
    broken.variables = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), talker.variables)
    with Engine(talker, slots=1, max_new_tokens=NEW, beams=(3,)) as engine:
        taken = threading.Event()
        engine.offer(broken, taken.set)
        assert taken.wait(60)
        heard = Heard(engine, job(talker, shown, QUESTION, (0,), Beam(3), max_new_tokens=4))
        event = heard.events.get(timeout=60)
        assert isinstance(event, Failed) and "found no answer" in str(event.error)
        engine.offer(talker, lambda: None)
        assert found(engine, job(talker, shown, QUESTION, (0,), Beam(3)))[0]


def test_a_list_of_answers_and_a_length_do_not_go_together(talker, shown):
    with pytest.raises(ConfigError, match="min_new_tokens 5 with choices"):
        talker.answer([QUESTION], [[shown[0]]], choices=CHOICES, min_new_tokens=5)


# --- over HTTP ------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_the_best_of_a_search_over_http(running, model, images, stream):
    openai = pytest.importorskip("openai")
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as client:
        reply = client.chat.completions.create(
            model=NAME,
            messages=[user(QUESTION, images[0])],
            max_tokens=8,
            n=2,
            stream=stream,
            extra_body={"num_beams": 3, "length_penalty": 0.0},
        )
        if stream:
            texts = ["", ""]
            for chunk in reply:
                choice = chunk.choices[0]
                texts[choice.index] += choice.delta.content or ""
        else:
            texts = [choice.message.content for choice in reply.choices]
    method = Beam(3, 0.0, n=2)
    expected = model().candidates([QUESTION], [[images[0]]], 8, decoding=method)[0]
    assert texts == [answer.text for answer in expected]


@pytest.mark.parametrize("choices", [CHOICES, ["yes", "no"], ["是", "不是"]])
def test_an_answer_from_a_list_over_http(running, model, images, choices):
    reply = chat(running.url, [user(QUESTION, images[1])], choices=choices, max_tokens=32).json()
    text = reply["choices"][0]["message"]["content"]
    assert [text] == model().answer([QUESTION], [[images[1]]], choices=choices)
    assert reply["choices"][0]["finish_reason"] == "stop"


@pytest.mark.parametrize(
    "fields",
    [
        {"num_beams": 2},
        {"num_beams": 3, "temperature": 0.5},
        {"num_beams": 3, "n": 4},
        {"choices": []},
        {"choices": ["yes", ""]},
        {"choices": ["yes"], "temperature": 1.0},
        {"choices": ["yes"], "min_tokens": 2},
        {"choices": ["two " * 50]},
        {"choices": "yes"},
        {"num_beams": 0},
        {"length_penalty": 1e9},
    ],
)
def test_a_search_that_cannot_be_is_refused_with_the_field(running, fields):
    reply = chat(running.url, [user(QUESTION)], **fields)
    assert reply.status_code == 400, reply.text
    assert reply.json()["error"]["message"]
