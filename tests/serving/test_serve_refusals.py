"""Wrong requests: each gets a 4xx with OpenAI's error object, and the server goes on."""

import io
import json

import httpx2
import pytest
from asked import NAME, assistant, chat, post, uri, user
from PIL import Image
from running import serving

KEYS = {"message", "type", "param", "code", "expected", "fix"}


@pytest.fixture(autouse=True)
def alive(running):
    yield
    assert httpx2.get(f"{running.url}/healthz").json() == {"status": "ok"}


def refused(reply, status=400, param=None, says="") -> dict:
    """The error of a refusal."""
    assert reply.status_code == status, reply.text
    error = reply.json()["error"]
    assert {"message", "type", "param", "code"} <= error.keys() <= KEYS
    if param is not None:
        assert error["param"] == param
    assert says in error["message"]
    return error


def image(url: str) -> list[dict]:
    return [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": url}}]}]


IMAGE = "messages[0].content[0].image_url"


@pytest.mark.parametrize(
    "content",
    [b"{", b"", b"[1]", b"nul", b"\xff\xfe", b'{"model": "tiny"', b"[" * 100_000, b'"\\ud800"'],
)
def test_what_is_no_json_object(running, content):
    json_type = {"Content-Type": "application/json"}
    refused(post(running.url, content=content, headers=json_type))


def test_json_that_does_not_say_that_it_is(running):
    error = refused(post(running.url, data={"model": NAME}))
    assert error["expected"] == "Content-Type: application/json"


def test_a_huge_body_is_refused_before_it_is_read(running):
    mib = b" " * (1 << 20)
    sent = iter([mib] * 100)
    refused(post(running.url, content=b"".join([mib] * 100)), 413)
    refused(post(running.url, content=sent), 413)
    assert len(list(sent)) > 0


@pytest.mark.parametrize(
    ("messages", "param"),
    [
        ([], "messages"),
        ([{"role": "tool", "content": "1"}], "messages[0].role"),
        ([{"role": "owner", "content": "1"}], "messages[0].role"),
        ([assistant("Hello.")], "messages[0]"),
        ([user("Where?"), assistant("Here.")], "messages[1]"),
        ([user("Where?"), {"role": "system", "content": "Be brief."}], "messages[1]"),
        ([user("Where?"), assistant("Here."), assistant("There."), user("Why?")], "messages[2]"),
        ([user("  ")], "messages[0]"),
        ([user("<image>")], "messages[0]"),
        ([user("\ud800")], "messages[0].content"),
        ([{"role": "user", "content": None}], "messages[0].content"),
        ([{"role": "user"}], "messages[0].content"),
        ([{"role": "user", "content": [{"type": "video", "text": ""}]}], "messages[0].content[0]"),
        ([{**image("data:,")[0], "role": "assistant"}, user("Where?")], "messages[0]"),
        ([{**user("Where?"), "tool_calls": [{}]}], "messages[0].tool_calls"),
    ],
)
def test_messages_that_are_no_dialogue(running, messages, param):
    body = json.dumps({"model": NAME, "messages": messages})
    reply = post(running.url, content=body, headers={"Content-Type": "application/json"})
    refused(reply, param=param)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temprature", 1),
        ("temperature", -1),
        ("temperature", "0.5"),
        ("top_p", 0),
        ("top_k", 2**40),
        ("n", 0),
        ("n", 3),
        ("max_tokens", 0),
        ("max_tokens", 33),
        ("max_tokens", 10**30),
        ("max_completion_tokens", 9),
        ("stop", ""),
        ("stop", ["a"] * 17),
        ("min_tokens", 9),
        ("seed", 0.5),
        ("top_logprobs", 5),
        ("frequency_penalty", 0.5),
        ("logit_bias", {"7": 100}),
        ("response_format", {"type": "json_object"}),
        ("tools", [{"type": "function"}]),
        ("stream_options", {"include": True}),
        ("num_beams", 5),
    ],
)
def test_fields_that_are_unknown_wrong_or_impossible(running, field, value):
    error = refused(chat(running.url, [user("Where?")], **{field: value}))
    assert field in f"{error['param']} {error['message']}"


def test_fields_that_change_nothing_are_ignored(running):
    fields = {"user": "me", "metadata": {"a": "b"}, "store": False, "logit_bias": {}, "tools": []}
    fields |= {"frequency_penalty": 0, "response_format": {"type": "text"}, "seed": -(10**30)}
    assert chat(running.url, [user("Where?")], **fields).status_code == 200


def test_several_answers_need_a_temperature(running):
    refused(chat(running.url, [user("Where?")], n=2, temperature=0), param="n")


def test_another_model_and_another_path_are_not_there(running):
    error = refused(chat(running.url, [user("Where?")], model="tinny"), 404, "model")
    assert error["code"] == "model_not_found" and "did you mean 'tiny'" in error["message"]
    refused(httpx2.get(f"{running.url}/v1/models/tinny"), 404)
    refused(httpx2.get(f"{running.url}/v1/../../etc/passwd"), 404)
    refused(httpx2.get(f"{running.url}/v1/chat/completions"), 405)


@pytest.mark.parametrize("text", ["two three " * 500_000, "图" * 1_000_000, "😀" * 100])
def test_a_prompt_that_is_too_long(running, text):
    error = refused(chat(running.url, [user(text)]), param="messages")
    assert error["code"] == "context_length_exceeded" and error["expected"].startswith("at most")


def test_a_dialogue_that_is_too_long_loses_nothing_in_silence(running):
    turns = [user("Where is it?"), assistant("two three left right")] * 20
    error = refused(chat(running.url, [*turns, user("Where?")]))
    assert error["code"] == "context_length_exceeded"


def test_more_images_than_fit_are_refused_before_any_is_decoded(running):
    error = refused(chat(running.url, [user("Where?", *[b"no image"] * 1000)]))
    assert error["code"] == "context_length_exceeded"


def bomb() -> bytes:
    file = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(file, "PNG")
    return file.getvalue()


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("data:image/png;base64,@@@@", "no base64"),
        ("data:image/png;base64,iVBORw0KGgo", "no base64"),
        ("data:image/png;base64,图", "no base64"),
        ("data:image/png;base64,", "format is unknown"),
        ("data:image/png,abc", "neither a data URI"),
        ("data:text/html;base64,aGk=", "neither a data URI"),
        ("file:///etc/passwd", "neither a data URI"),
        ("/etc/passwd", "neither a data URI"),
        ("", "neither a data URI"),
        ("http://127.0.0.1/a.png", "not fetched"),
        ("HTTPS://example.com/a.png", "not fetched"),
    ],
)
def test_addresses_that_are_no_image(running, url, says):
    refused(chat(running.url, image(url)), param=IMAGE, says=says)


@pytest.mark.parametrize("stream", [False, True])
def test_files_that_are_no_image(running, images, stream):
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n%%EOF"
    for data in (b"", b"\0" * 100, images[0][:-50], b"GIF89a", b"<svg/>", eps):
        refused(chat(running.url, image(uri(data)), stream=stream), param=IMAGE)


def test_a_decompression_bomb_is_refused_by_its_header(running):
    refused(chat(running.url, image(uri(bomb()))), param=IMAGE, says="pixels")


def test_unusual_images_are_read_as_training_reads_them(running, model):
    moving = io.BytesIO()
    frames = [Image.new("P", (9, 9), n) for n in range(3)]
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    cmyk = io.BytesIO()
    Image.new("CMYK", (9, 9), (9, 90, 0, 0)).save(cmyk, "JPEG")
    for data in (moving.getvalue(), cmyk.getvalue()):
        reply = chat(running.url, image(uri(data, "jpeg")))
        (answer,) = model().answer([""], [[data]], max_new_tokens=8)
        assert reply.json()["choices"][0]["message"]["content"] == answer


ODD = [None, True, -1, 0, 1e308, 2**70, "", "x", "\0", "图" * 999, [], [[]], {}, {"type": "text"}]


@pytest.mark.slow
def test_no_field_has_a_value_that_the_server_fails_on(running, images):
    body = {"model": NAME, "max_tokens": 1, "messages": [user("Where?", images[0])]}
    fields = httpx2.get(f"{running.url}/openapi.json").json()["components"]["schemas"]
    for field in fields["ChatRequest"]["properties"]:
        for value in ODD:
            reply = post(running.url, json=body | {field: value})
            assert reply.status_code < 500, (field, value, reply.text)
    for field in fields["Message"]["properties"]:
        for value in ODD:
            messages = [user("Where?"), {**assistant("Here."), field: value}, user("Why?")]
            reply = post(running.url, json=body | {"messages": messages})
            assert reply.status_code < 500, (field, value, reply.text)


def test_a_key_that_is_missing_or_wrong(model):
    with serving(model(), key="sk-secret") as running:
        right = {"Authorization": "Bearer sk-secret"}
        assert httpx2.get(f"{running.url}/v1/models", headers=right).status_code == 200
        for wrong in ("", "Bearer", "Bearer sk-secre", "Bearer sk-secret2", "Basic sk-secret"):
            headers = {"Authorization": wrong} if wrong else {}
            reply = post(running.url, content=b"{", headers=headers)
            error = refused(reply, 401)
            assert error["code"] == "invalid_api_key" and "sk-" not in reply.text
        assert httpx2.get(f"{running.url}/healthz").status_code == 200
