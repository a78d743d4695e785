"""The official client against a server on loopback: its answers are those of the model."""

import json

import numpy as np
import pytest
from asked import NAME, assistant, chat, user
from running import serving

openai = pytest.importorskip("openai")

from openai.types.chat import ChatCompletion, ChatCompletionChunk  # noqa: E402

from zv_jax.data.text.dialogue import Exchange  # noqa: E402
from zv_jax.inference.decoding import Sample  # noqa: E402


@pytest.fixture(scope="module")
def client(running):
    with openai.OpenAI(base_url=f"{running.url}/v1", api_key="none", max_retries=0) as made:
        yield made.chat.completions


QUESTIONS = ["What is in the picture?", "图里有什么？"]


@pytest.mark.parametrize("question", QUESTIONS)
def test_an_answer_is_that_of_the_model(client, model, images, question):
    reply = client.create(model=NAME, messages=[user(question, images[0])], max_tokens=8)
    (expected,) = model().candidates([question], [[images[0]]], max_new_tokens=8)[0]
    (choice,) = reply.choices
    assert choice.message.content == expected.text
    assert choice.message.role == "assistant" and choice.logprobs is None
    assert reply.usage.completion_tokens == len(expected.ids)
    prompt = model().processor.question(question, [images[0]], max_new_tokens=32)
    assert reply.usage.prompt_tokens == len(prompt.input_ids)
    assert reply.usage.total_tokens == reply.usage.prompt_tokens + len(expected.ids)


@pytest.mark.parametrize("question", QUESTIONS)
def test_the_pieces_of_a_stream_are_the_answer(client, model, images, question):
    asked = dict(model=NAME, messages=[user(question, images[0])], max_tokens=8)
    chunks = list(client.create(**asked, stream=True, stream_options={"include_usage": True}))
    pieces = [c.choices[0].delta.content or "" for c in chunks if c.choices]
    (answer,) = model().answer([question], [[images[0]]], max_new_tokens=8)
    assert "".join(pieces) == answer
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-2].choices[0].finish_reason in ("stop", "length")
    assert chunks[-1].choices == [] and chunks[-1].usage.completion_tokens <= 8
    assert [c.usage for c in chunks[:-1]] == [None] * (len(chunks) - 1)
    assert len({c.id for c in chunks}) == 1


def test_images_in_two_turns_make_the_dialogue_that_the_model_knows(client, model, images):
    messages = [
        user("What is in the picture?", images[0], images[1]),
        assistant("a red square"),
        user("图里有什么？", images[2]),
    ]
    reply = client.create(model=NAME, messages=messages, max_tokens=8)
    turns = (
        Exchange("What is in the picture?", "a red square", (0, 1)),
        Exchange("图里有什么？", None, (2,)),
    )
    (answer,) = model().answer([turns], [images], max_new_tokens=8)
    assert reply.choices[0].message.content == answer


def test_draws_are_those_of_the_seed(client, model):
    asked = dict(model=NAME, messages=[user("Where is it?")], max_tokens=8, temperature=1.5)
    reply = client.create(**asked, n=2, seed=7, top_p=0.9, extra_body={"top_k": 50})
    method = Sample(1.5, top_p=0.9, top_k=50, seed=7, n=2)
    expected = model().candidates(["Where is it?"], max_new_tokens=8, decoding=method)[0]
    assert [c.message.content for c in reply.choices] == [a.text for a in expected]
    assert [c.index for c in reply.choices] == [0, 1]
    assert reply.usage.completion_tokens == sum(len(a.ids) for a in expected)
    other = client.create(**asked, n=2)
    assert other.choices[0].message.content != other.choices[1].message.content


def test_log_probabilities_are_those_of_the_model(client, model):
    asked = dict(model=NAME, messages=[user("图里有什么？")], max_tokens=8, logprobs=True)
    (expected,) = model().candidates(["图里有什么？"], max_new_tokens=8)[0]
    whole = client.create(**asked).choices[0]
    streamed = [c.choices[0] for c in client.create(**asked, stream=True)]
    entries = [e for c in streamed if c.logprobs for e in c.logprobs.content]
    assert entries == whole.logprobs.content
    text = [i for i in expected.ids if i != model().tokenizer.eos_id]
    assert len(entries) == len(text)
    np.testing.assert_allclose(
        [e.logprob for e in entries], expected.logprobs[: len(text)], atol=1e-4
    )
    spelled = b"".join(bytes(e.bytes) for e in entries).decode("utf-8", "replace")
    assert whole.message.content in spelled.strip()


def test_stop_words_end_an_answer_and_are_not_part_of_it(client, model):
    asked = dict(model=NAME, messages=[user("Where is it?")], max_tokens=8)
    answer = client.create(**asked).choices[0].message.content
    word = answer[len(answer) // 2 :][:2]
    for stop in (word, [word, "never"]):
        cut = client.create(**asked, stop=stop).choices[0]
        assert cut.message.content == answer[: answer.find(word)].strip()
        assert cut.finish_reason == "stop"
        pieces = client.create(**asked, stop=stop, stream=True)
        text = "".join(c.choices[0].delta.content or "" for c in pieces)
        assert text == cut.message.content


def test_a_system_message_precedes_the_question_and_the_q_former_reads_the_question(client, model):
    messages = [{"role": "system", "content": "Answer in one word."}, user("Where is it?")]
    reply = client.create(model=NAME, messages=messages, max_tokens=8)
    (answer,) = model().answer(
        ["Answer in one word.\nWhere is it?"], max_new_tokens=8, instructions=["Where is it?"]
    )
    assert reply.choices[0].message.content == answer


def test_an_answer_can_be_sent_back_as_the_client_has_it(client):
    first = client.create(model=NAME, messages=[user("Where is it?")], max_tokens=8)
    messages = [user("Where is it?"), first.choices[0].message, user("图里有什么？")]
    assert client.create(model=NAME, messages=messages, max_tokens=8).choices


def test_bodies_are_exactly_those_of_the_protocol(running):
    """Strictly: `openai` itself reads whatever comes."""
    for fields in ({}, {"logprobs": True}, {"n": 2, "temperature": 1}):
        reply = chat(running.url, [user("Where is it?")], **fields)
        content = reply.json()
        again = ChatCompletion.model_validate(content, strict=True)
        assert not again.model_extra
        assert again.model_dump(exclude_unset=True) == content
    stream = chat(running.url, [user("Where is it?")], stream=True)
    assert stream.headers["content-type"].startswith("text/event-stream")
    *lines, done = stream.text.removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    for line in lines:
        content = json.loads(line.removeprefix("data: "))
        again = ChatCompletionChunk.model_validate(content, strict=True)
        assert again.model_dump(exclude_unset=True) == content


@pytest.mark.slow
def test_base_answers_over_http_as_it_does_in_python(model, images):
    with serving(model("stage2", "base")) as running:
        reply = chat(running.url, [user("图里有什么？", *images)]).json()
    (answer,) = model("stage2", "base").answer(["图里有什么？"], [images], max_new_tokens=8)
    assert reply["choices"][0]["message"]["content"] == answer
