"""`--follow`: each new checkpoint answers, between requests, and answers name their step."""

import functools
import re
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from asked import NAME, chat, post, user
from random_runs import TEXTS, random_run
from running import serving

from zv_jax.data.text import tokenizers
from zv_jax.errors import CheckpointError
from zv_jax.inference.model import from_pretrained
from zv_jax.serving.engine import Engine
from zv_jax.serving.follow import Follower, first_checkpoint

QUESTIONS = ("What is in the picture?", "图里有什么？")
MOST = 6  # steps that a run of a test saves


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    return tokenizers.train_sentencepiece(TEXTS, 320, tmp_path_factory.mktemp("tokenizer"))


@pytest.fixture
def followed(tokenizer, tmp_path):
    """`followed(stage)`: a server of step 1 and its workdir; `save(step)` makes the next ones."""

    def make(stage):
        save = functools.partial(random_run, tmp_path, tokenizer, stage, "chat")
        model = from_pretrained(save(step=1))
        return model, save

    return make


def taken(running):
    """What takes a model for `running`, and an event for each step that answers."""
    events = {step: threading.Event() for step in range(2, MOST + 1)}

    def take(model):
        running.current.model = model
        events[model.step].set()

    def offer(model):
        if running.engine is None:
            take(model)
        else:
            running.engine.offer(model, functools.partial(take, model))

    return offer, events


@pytest.mark.parametrize("last, each", [(2, 6), pytest.param(MOST, 40, marks=pytest.mark.slow)])
def test_during_changes_every_answer_is_that_of_the_step_it_names(
    followed, images, tmp_path, last, each
):
    model, save = followed("stage2")
    found = []

    def ask(running, number):
        question, image = QUESTIONS[number % 2], number // 2 % 2
        reply = chat(running.url, [user(question, images[image])], n=1 + number % 3 // 2, seed=1)
        assert reply.status_code == 200, reply.text
        found.append((question, image, reply.json()))

    with (
        serving(model, slots=4, kind=Engine, requests=64) as running,
        ThreadPoolExecutor(6) as all_,
    ):
        offer, events = taken(running)
        with Follower(tmp_path, model, offer, every=0.02):
            for step in range(2, last + 1):
                asked = [all_.submit(ask, running, number) for number in range(each)]
                save(step=step)
                assert events[step].wait(60)
                for one in asked:
                    one.result()
            ask(running, 0)
        compiled = running.engine.compiled
    assert found[-1][2]["system_fingerprint"] == f"step_{last}"
    assert len(found) == (last - 1) * each + 1 and compiled == running.engine.compiled
    answers = {
        f"step_{step}": offline(tmp_path / "checkpoints" / str(step), images)
        for step in range(1, last + 1)
    }
    for question, image, reply in found:
        texts = [choice["message"]["content"] for choice in reply["choices"]]
        assert texts == answers[reply["system_fingerprint"]][question, image, len(texts)]


def offline(checkpoint, images):
    """What the model of a checkpoint answers to all that is asked above."""
    model = from_pretrained(checkpoint)
    expected = {}
    for question in QUESTIONS:
        for image in (0, 1):
            shown = [[images[image]]]
            expected[question, image, 1] = model.answer([question], shown, 8)
            drawn = model.candidates([question], shown, 8, temperature=1.0, seed=1, n=2)[0]
            expected[question, image, 2] = [answer.text for answer in drawn]
    return expected


def test_embeddings_follow_too(followed, tmp_path):
    model, save = followed("stage0")
    embed = lambda url: post(
        url, "/v1/embeddings", json={"model": NAME, "input": "a red square"}
    ).json()
    with serving(model) as running:
        offer, events = taken(running)
        before = embed(running.url)
        with Follower(tmp_path, model, offer, every=0.02):
            save(step=2)
            assert events[2].wait(60)
        after = embed(running.url)
    assert (before["step"], after["step"]) == (1, 2)
    expected = from_pretrained(tmp_path).embed_texts(["a red square"])[0]
    assert after["data"][0]["embedding"] == expected.tolist()
    assert before["data"] != after["data"]


def test_a_checkpoint_that_cannot_be_read_is_left_out(followed, tmp_path, caplog):
    model, save = followed("stage2")
    offered = []
    done = threading.Event()

    def offer(newer):
        offered.append(newer.step)
        done.set()

    save(step=2)
    for file in (tmp_path / "checkpoints/2/state").rglob("*"):
        if file.is_file():
            file.write_bytes(b"")
    seen = threading.Event()
    follower = Follower(tmp_path, model, offer, every=0.02)
    caplog.handler.addFilter(lambda record: seen.set() or True)
    with follower:
        assert seen.wait(30)
        assert offered == []
        save(step=3)
        assert done.wait(60)
    assert offered == [3]
    assert "a checkpoint is left out" in caplog.text


def test_weights_of_another_model_are_refused(followed, tokenizer, tmp_path):
    model, _ = followed("stage2")
    other = random_run(tmp_path / "other", tokenizer, "stage2", "base")
    with pytest.raises(CheckpointError, match="another model"):
        model.at(other)
    words = tokenizers.train_sentencepiece(TEXTS, 315, tmp_path / "words")
    with pytest.raises(CheckpointError, match="another model"):
        model.at(random_run(tmp_path / "words_run", words, "stage2", "chat"))


def test_a_run_without_checkpoints_is_waited_for(followed, tmp_path, caplog):
    with pytest.raises(CheckpointError, match="no such folder"):
        first_checkpoint(tmp_path / "none")
    _, save = followed("stage2")
    first, later = tmp_path / "checkpoints/1", tmp_path / "elsewhere"
    shutil.move(first, later)
    caplog.set_level("WARNING")
    waiting = threading.Thread(target=first_checkpoint, args=(tmp_path, 0.02))
    waiting.start()
    waiting.join(0.1)
    assert waiting.is_alive()
    assert "waiting for the first checkpoint" in caplog.text  # nobody takes it for a hang
    shutil.move(later, first)
    waiting.join(30)
    assert not waiting.is_alive()


def test_the_steps_of_pieces_are_named_in_a_stream(running, images):
    with_steps = chat(running.url, [user(QUESTIONS[0], images[0])], stream=True).text
    assert set(re.findall(r'"system_fingerprint": ?"?(\w+)', with_steps)) == {"step_1"}
