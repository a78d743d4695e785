"""vLLM's server with the plugin, asked by the official client of OpenAI's protocol."""

import base64
import io
import json
import os
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import conftest
import openai
import pytest
from conftest import NEW

START = 600  # seconds that a server may take


def part(image) -> dict:
    """An image as a data URI."""
    file = io.BytesIO()
    image.save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    return {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{data}"}}


@pytest.fixture(scope="module")
def client(exports, tmp_path_factory):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [
        sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model",
        str(exports / "chat"), "--served-model-name", "chat", "--host", "127.0.0.1",
        "--port", str(port),
        "--dtype", "float32", "--enforce-eager", "--block-size", "32",
        "--limit-mm-per-prompt", '{"image": 4}',
    ]  # fmt: skip
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as out:
        env = os.environ | {"VLLM_ENABLE_V1_MULTIPROCESSING": "1"}
        server = subprocess.Popen(command, stdout=out, stderr=out, env=env)
    asked = openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none", max_retries=0)
    try:
        end = time.monotonic() + START
        while True:
            try:
                asked.models.list()
                break
            except openai.APIConnectionError:
                assert server.poll() is None and time.monotonic() < end, log.read_text()[-5000:]
                time.sleep(0.5)
        yield asked
    finally:
        server.terminate()
        server.wait(60)


@pytest.fixture
def ask(client, images):
    """`ask(turns)`: the greedy answer, with the ids of its tokens."""

    def make(turns, extra_body=None, **options):
        return client.chat.completions.create(
            model="chat",
            messages=conftest.messages(turns, images, part),
            temperature=0,
            max_tokens=NEW,
            extra_body={"return_token_ids": True, **(extra_body or {})},
            **options,
        )

    return make


def ids(choice, eos) -> list[int]:
    """The tokens of an answer; random models write no text that could be compared."""
    return [token for token in choice.model_extra.get("token_ids") or [] if token != eos]


@pytest.fixture(scope="module")
def eos(exports) -> int:
    return json.loads((exports / "chat/generation_config.json").read_text())["eos_token_id"]


def test_sixty_questions_at_once(ask, cases, eos):
    chosen = [cases["chat"][i % len(cases["chat"])] for i in range(60)]
    with ThreadPoolExecutor(60) as pool:
        found = list(pool.map(lambda case: ask(case["turns"]), chosen))
    assert [ids(one.choices[0], eos) for one in found] == [case["answer"] for case in chosen]


def test_a_stream_is_the_whole_answer(ask, cases, eos):
    case = cases["chat"][1]
    choices = [chunk.choices[0] for chunk in ask(case["turns"], stream=True) if chunk.choices]
    assert [token for choice in choices for token in ids(choice, eos)] == case["answer"]
    text = "".join(choice.delta.content or "" for choice in choices)
    assert text == ask(case["turns"]).choices[0].message.content


def test_what_is_refused_has_status_400_and_the_server_lives_on(ask, client, cases, eos):
    broken = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    wrong = [
        lambda: ask([("What?", None, [0, 1, 2, 0, 1])]),  # five images of four
        lambda: ask(
            [("What?", None, [0])], extra_body={"mm_processor_kwargs": {"qformer_text": 7}}
        ),
        lambda: ask([("", None, [])]),
        lambda: client.chat.completions.create(
            model="chat", messages=[{"role": "user", "content": [broken]}]
        ),
        lambda: client.chat.completions.create(
            model="chat", messages=[{"role": "assistant", "content": "two"}]
        ),
    ]
    for one in wrong:
        with pytest.raises(openai.BadRequestError):
            one()
    case = cases["chat"][0]
    assert ids(ask(case["turns"]).choices[0], eos) == case["answer"]
