"""Embeddings over HTTP are those of the model; a model of stage 0 gives no answers."""

import json

import numpy as np
import pytest
from asked import NAME, chat, post, uri, user
from running import serving

TEXTS = ["a red square", "一个圆"]


@pytest.fixture(scope="module")
def stage0(model):
    with serving(model("stage0")) as found:
        yield found


def embed(url, given, **fields):
    body = json.dumps({"model": NAME, "input": given} | fields)  # which can spell half a character
    headers = {"Content-Type": "application/json"}
    return post(url, "/v1/embeddings", content=body, headers=headers)


def test_texts_and_images_in_any_order(stage0, model, images):
    shown = [{"type": "image_url", "image_url": {"url": uri(data)}} for data in images[:2]]
    reply = embed(stage0.url, [shown[0], TEXTS[0], {"type": "text", "text": TEXTS[1]}, shown[1]])
    data = reply.json()["data"]
    assert [entry["index"] for entry in data] == [0, 1, 2, 3]
    vectors = [np.reshape(entry["embedding"], entry["shape"]) for entry in data]
    texts = model("stage0").embed_texts(TEXTS)
    queries = model("stage0").embed_images(images[:2])
    np.testing.assert_allclose(vectors[1:3], texts, atol=1e-6)
    np.testing.assert_allclose([vectors[0], vectors[3]], queries, atol=1e-6)


def test_the_official_client_reads_them(stage0, model):
    openai = pytest.importorskip("openai")
    from openai.types import CreateEmbeddingResponse

    with openai.OpenAI(base_url=f"{stage0.url}/v1", api_key="none", max_retries=0) as client:
        (known,) = client.models.list().data
        assert known.id == NAME and client.models.retrieve(NAME) == known
        found = client.embeddings.create(model=NAME, input=TEXTS)  # asks for base64
    expected = model("stage0").embed_texts(TEXTS)
    np.testing.assert_allclose([e.embedding for e in found.data], expected, atol=1e-6)
    content = embed(stage0.url, TEXTS[0]).json()
    CreateEmbeddingResponse.model_validate(content, strict=True)
    assert (
        content["usage"]["prompt_tokens"]
        == len(model("stage0").qformer_tokenizer.encode(TEXTS[0])) + 2
    )


@pytest.mark.parametrize(
    ("given", "fields"),
    [
        ([], {}),
        ("", {}),
        ([" "], {}),
        ([[1, 2]], {}),
        ("\ud800", {}),
        (["two", "\ud800"], {}),
        ("two three " * 100, {}),
        ("x" * 3_000_000, {}),
        (["two"] * 65, {}),
        ([{"type": "image_url", "image_url": {"url": "data:image/png;base64,"}}], {}),
        ("two", {"dimensions": 3}),
        ("two", {"encoding_format": "int8"}),
        ("two", {"model": "none"}),
    ],
)
def test_what_cannot_be_embedded(stage0, given, fields):
    reply = embed(stage0.url, given, **fields)
    assert reply.status_code == (404 if "model" in fields else 400) and reply.json()["error"]


def test_a_model_of_stage_0_gives_no_answers(stage0):
    reply = chat(stage0.url, [user("Where?")])
    assert reply.status_code == 400 and "no answers" in reply.json()["error"]["message"]


def test_a_model_without_heads_gives_no_embeddings(running):
    reply = embed(running.url, "two")
    assert reply.status_code == 400 and "no embeddings" in reply.json()["error"]["message"]
