"""Many questions at once get the answers that each gets alone, and only their own."""

import queue

import numpy as np
import pytest
from hearing import NEW, Heard, job
from PIL import Image

from zv_jax.data.text.dialogue import Exchange
from zv_jax.errors import ConfigError, DataError
from zv_jax.inference.decoding import Greedy, Sample
from zv_jax.serving.engine import Engine
from zv_jax.serving.jobs import Ended, Failed, Job, Piece

QUESTIONS = (
    ("What is in the picture?", (0,)),
    ("图里有什么？", (1,)),
    ("Where is it? 图里有什么？", (2, 0)),
    ("two three left right", ()),
    ("What is in the picture?", (1,)),
    ("图里有什么？", (0,)),
)


@pytest.fixture(scope="module")
def talker(model):
    return model()


@pytest.fixture(scope="module")
def engine(talker):
    with Engine(talker, slots=3, max_new_tokens=NEW) as running:
        yield running


def test_answers_of_many_are_those_of_the_model_and_bit_equal_to_those_alone(engine, talker, shown):
    methods = [
        Greedy(),
        Sample(1.5, seed=7),
        Greedy(repetition_penalty=1.5),
        Sample(0.9, top_p=0.8),
    ]
    jobs = [
        job(talker, shown, *asked, decoding=methods[i % len(methods)])
        for i, asked in enumerate(QUESTIONS)
    ]
    alone = [Heard(engine, one).all() for one in jobs]
    at_once = [heard.all() for heard in [Heard(engine, one) for one in jobs]]
    assert at_once == alone
    for (text, images), one, (answer, ids, end) in zip(QUESTIONS, jobs, alone, strict=True):
        expected = talker.answer([text], [[shown[i] for i in images]], NEW, decoding=one.decoding)
        assert [answer] == expected
        assert end == Ended(end.reason, len(ids), len(one.question.input_ids))
        assert end.reason == ("stop" if len(ids) < NEW else "length")


@pytest.mark.slow
def test_base_sees_many_images_and_its_own_question(model, shown):
    model = model("stage2", "base")
    with Engine(model, slots=2, max_new_tokens=NEW) as engine:
        for text, images in QUESTIONS:
            found = Heard(engine, job(model, shown, text, images)).all()[0]
            assert [found] == model.answer([text], [[shown[i] for i in images]], NEW)


def test_a_dialogue_is_read_like_the_models(engine, talker, shown):
    turns = (
        Exchange("What is in the picture?", "a red square", (0,)),
        Exchange("图里有什么？", None, (1,)),
    )
    question = talker.processor.question(turns, shown[:2], max_new_tokens=NEW)
    answer = Heard(engine, Job(question, Greedy(), NEW)).all()[0]
    assert [answer] == talker.answer([turns], [shown[:2]], NEW)


def test_no_program_is_compiled_once_the_engine_is_ready(engine, talker, shown):
    before = engine.compiled
    for text, images in QUESTIONS:
        Heard(engine, job(talker, shown, text, images, Sample(1.2))).all()
    assert engine.compiled == before == 2 + len(engine._lengths) + 2 + 2


def test_an_image_is_encoded_once_and_each_question_looks_at_it_anew(engine, talker):
    image = Image.new("RGB", (28, 28), "orange")
    features, tokens = engine.features, engine.tokens
    count = lambda: np.array([features.misses, features.hits, tokens.misses, tokens.hits])

    def ask(*texts):
        before = count()
        found = [Heard(engine, job(talker, [image], text, (0,))).all()[0] for text in texts]
        return found, (count() - before).tolist()

    questions = "What is in the picture?", "图里有什么？"
    first, counted = ask(*questions)
    assert counted == [1, 1, 2, 0]
    assert ask(*questions) == (first, [0, 0, 0, 2])


def test_logprobs_are_those_of_the_model(engine, talker, shown):
    heard = Heard(engine, job(talker, shown, *QUESTIONS[0], logprobs=True))
    events = [heard.events.get(timeout=60)]
    while isinstance(events[-1], Piece):
        events.append(heard.events.get(timeout=60))
    found = [p.logprobs[0] for p in events[:-1]]
    (answer,) = talker.candidates([QUESTIONS[0][0]], [[shown[0]]], NEW, decoding=Greedy())[0]
    np.testing.assert_allclose(found, answer.logprobs, atol=1e-4)


def test_a_stop_word_ends_the_answer_and_no_part_of_it_is_shown(engine, talker, shown):
    free = Heard(engine, job(talker, shown, *QUESTIONS[0])).all()[0]
    word = free[len(free) // 2 : len(free) // 2 + 3]
    heard = Heard(engine, job(talker, shown, *QUESTIONS[0], stop=(word,)))
    text, _, end = heard.all()
    assert text == free.partition(word)[0].strip() and end.reason == "stop"


def test_a_cancelled_job_leaves_its_slot_and_the_others_go_on(engine, talker, shown):
    jobs = [job(talker, shown, *asked) for asked in QUESTIONS]
    expected = Heard(engine, jobs[-1]).all()
    heard = [Heard(engine, one) for one in jobs]
    for one in heard[:-1]:
        one.ticket.cancel()
    assert heard[-1].all() == expected
    for one in heard[:-1]:
        assert one.all()[2].reason in ("cancelled", "stop", "length")
    assert engine.running == engine.waiting == 0


def test_a_listener_that_fails_loses_its_answer_and_no_other(engine, talker, shown):
    def deaf(event):
        raise RuntimeError("gone")

    one = job(talker, shown, *QUESTIONS[0])
    expected = Heard(engine, one).all()
    engine.submit(one, deaf)
    assert Heard(engine, one).all() == expected


def test_what_cannot_be_answered_is_refused_before_it_waits(engine, talker, shown, tmp_path):
    with pytest.raises(ConfigError, match="25 new tokens"):
        engine.submit(job(talker, shown, *QUESTIONS[0], max_new_tokens=NEW + 1), print)
    with pytest.raises(ConfigError, match="several answers"):
        engine.submit(job(talker, shown, *QUESTIONS[0], decoding=Sample(1.0, n=2)), print)
    missing = talker.processor.question("two", [tmp_path / "no.png"], max_new_tokens=NEW)
    with pytest.raises(DataError, match="not found"):
        engine.submit(Job(missing, Greedy(), NEW), print)
    assert engine.waiting == 0


def test_a_drained_engine_ends_what_it_has_and_takes_no_more(talker, shown):
    with Engine(talker, slots=2, max_new_tokens=NEW) as engine:
        jobs = [job(talker, shown, *asked) for asked in QUESTIONS[:4]]
        heard = [Heard(engine, one) for one in jobs]
        engine.drain()
        assert [one.all()[2].reason in ("stop", "length") for one in heard] == [True] * 4
        with pytest.raises(ConfigError, match="takes no more"):
            engine.submit(jobs[0], print)


def test_an_engine_that_fails_says_so_to_everybody_and_ends_nothing_in_silence(talker, shown):
    with pytest.raises(RuntimeError, match="out of memory"):
        with Engine(talker, slots=1, max_new_tokens=NEW) as engine:
            heard = Heard(engine, job(talker, shown, *QUESTIONS[0], max_new_tokens=1))
            assert isinstance(heard.all()[2], Ended)

            def broken(*arguments):
                raise RuntimeError("out of memory")

            engine._step = broken
            events = queue.SimpleQueue()
            engine.submit(job(talker, shown, *QUESTIONS[0], Greedy(NEW)), events.put)
            while isinstance(event := events.get(timeout=60), Piece):
                pass
            assert isinstance(event, Failed) and str(event.error) == "out of memory"
            assert str(engine.error) == "out of memory"
            with pytest.raises(ConfigError, match="takes no more"):
                engine.submit(job(talker, shown, *QUESTIONS[0]), print)
