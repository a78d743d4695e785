"""vLLM's server with the plugin, asked by the official client of OpenAI's protocol."""

import base64
import io
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
    """`ask(turns)`: the text of the greedy answer."""

    def make(turns, **options):
        return client.chat.completions.create(
            model="chat",
            messages=conftest.messages(turns, images, part),
            temperature=0,
            max_tokens=NEW,
            **options,
        )

    return make


@pytest.fixture
def expected(cases, chat):
    """The texts of zv_jax's answers."""
    decode = chat.llm.get_tokenizer().decode
    return [decode(case["answer"], skip_special_tokens=True) for case in cases["chat"]]


def test_sixty_questions_at_once(ask, cases, expected):
    turns = [case["turns"] for case in cases["chat"]]
    with ThreadPoolExecutor(60) as pool:
        found = list(pool.map(lambda i: ask(turns[i % len(turns)]), range(60)))
    texts = [one.choices[0].message.content for one in found]
    assert texts == [expected[i % len(turns)] for i in range(60)]


def test_a_stream_is_the_whole_answer(ask, cases, expected):
    chunks = ask(cases["chat"][1]["turns"], stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == expected[1]


def test_what_is_refused_has_status_400_and_the_server_lives_on(ask, client, cases, expected):
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
    assert ask(cases["chat"][0]["turns"]).choices[0].message.content == expected[0]
