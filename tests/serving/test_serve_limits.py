"""A full queue, clients that leave or are slow, the deadline, and the end of a server."""

import asyncio
import contextlib
import json
import socket
import threading

import httpx2
import pytest
from asked import NAME, chat, post, user
from running import serving

QUESTION = [user("Where is it?")]


def until(condition) -> None:
    """Waits for what another thread is about to do."""
    for _ in range(3000):
        if condition():
            return
        threading.Event().wait(0.01)
    raise AssertionError("it did not happen")


@contextlib.contextmanager
def under_way(url, count, **fields):
    """Requests in threads of their own; the list fills with their replies."""
    replies: list[httpx2.Response] = []
    ask = lambda: replies.append(chat(url, QUESTION, **fields))
    threads = [threading.Thread(target=ask) for _ in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield replies
    finally:
        for thread in threads:
            thread.join()


@pytest.fixture
def served(model):
    with serving(model(), requests=3) as found:
        yield found


def test_the_request_after_the_last_place_is_told_when_to_come_again(served):
    served.engine.open.clear()
    with under_way(served.url, 3) as replies:
        until(lambda: served.engine.running + served.engine.waiting == 3)
        full = chat(served.url, QUESTION)
        assert full.status_code == 429 and int(full.headers["retry-after"]) >= 1
        assert full.json()["error"]["code"] == "rate_limit_exceeded"
        assert httpx2.get(f"{served.url}/healthz").status_code == 200
        shown = httpx2.get(f"{served.url}/metrics").text
        assert "zv_engine_running 2.0" in shown and "zv_engine_waiting 1.0" in shown
        served.engine.open.set()
    assert [reply.status_code for reply in replies] == [200] * 3
    assert chat(served.url, QUESTION).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_frees_its_slot(served, stream):
    served.engine.open.clear()
    body = json.dumps({"model": NAME, "messages": QUESTION, "stream": stream}).encode()
    with connected(served.url) as client:
        client.sendall(head(len(body)) + body)
        until(lambda: served.engine.running == 1)
    until(lambda: served.engine.running == 0)  # though no step was taken
    assert [end.reason for end in served.engine.ended] == ["cancelled"]
    shown = lambda: httpx2.get(f"{served.url}/metrics").text
    until(lambda: 'zv_abandoned_answers_total{reason="disconnect"} 1.0' in shown())
    served.engine.open.set()
    assert chat(served.url, QUESTION).status_code == 200


def connected(url: str) -> socket.socket:
    address = httpx2.URL(url)
    return socket.create_connection((address.host, address.port))


def head(length: int) -> bytes:
    return (
        "POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        f"Content-Length: {length}\r\n\r\n"
    ).encode()


def test_an_answer_that_takes_too_long_is_given_up(model):
    with serving(model(), timeout=0.5) as running:
        running.engine.open.clear()
        late = chat(running.url, QUESTION)
        assert late.status_code == 504 and late.json()["error"]["type"] == "timeout_error"
        late = chat(running.url, QUESTION, stream=True)
        *_, error, rest = late.text.split("\n\n")
        assert json.loads(error.removeprefix("data: "))["error"]["code"] == "timeout"
        assert rest == "" and "[DONE]" not in late.text
        until(lambda: running.engine.running == 0)


def test_a_request_that_never_arrives_gives_its_place_up(model):
    with serving(model(), timeout=0.5, requests=1) as running, connected(running.url) as client:
        client.sendall(head(100) + b"{")
        assert client.recv(1000).startswith(b"HTTP/1.1 408 ")
        assert chat(running.url, QUESTION, max_tokens=1, model="none").status_code == 404


def test_what_was_asked_before_the_end_is_answered(model):
    with serving(model()) as running:
        running.engine.open.clear()
        with under_way(running.url, 2) as replies:
            until(lambda: running.engine.running == 2)
            running.server.should_exit = True
            until(lambda: not listens(running.url))
            running.engine.open.set()
        assert [reply.status_code for reply in replies] == [200] * 2
        running.thread.join()


def listens(url: str) -> bool:
    try:
        connected(url).close()
    except OSError:
        return False
    return True


def test_metrics_count_requests_and_tokens(served):
    reply = chat(served.url, QUESTION).json()
    post(served.url, "/v1/nothing")
    shown = httpx2.get(f"{served.url}/metrics").text
    assert 'zv_requests_total{path="/v1/chat/completions",status="200"} 1.0' in shown
    assert 'zv_requests_total{path="other",status="404"} 1.0' in shown
    count = reply["usage"]["completion_tokens"]
    assert f'zv_tokens_total{{kind="completion"}} {count}.0' in shown


@pytest.mark.slow
def test_health_is_quick_while_large_images_come_in(served):
    """Fifty megapixels each; a single look may be unlucky on a busy machine."""
    import io

    from asked import uri
    from PIL import Image

    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((7100, 7100)).save(file, "JPEG")
    part = {"type": "image_url", "image_url": {"url": uri(file.getvalue(), "jpeg")}}
    messages = [{"role": "user", "content": [part] * 3}]

    async def measure() -> list[float]:
        async with httpx2.AsyncClient(base_url=served.url, timeout=120) as client:
            body = {"model": NAME, "messages": messages, "max_tokens": 1}
            asked = [
                asyncio.create_task(client.post("/v1/chat/completions", json=body))
                for _ in range(3)
            ]
            seconds = []
            while not all(task.done() for task in asked):
                seconds.append((await client.get("/healthz")).elapsed.total_seconds())
                await asyncio.sleep(0.02)
            assert [task.result().status_code for task in asked] == [200] * 3
            return seconds

    seconds = sorted(asyncio.run(measure()))
    assert seconds[len(seconds) * 9 // 10] < 0.05


def test_a_failed_engine_is_no_healthy_server(served):
    served.engine.error = RuntimeError("out of memory")
    for reply in (httpx2.get(f"{served.url}/healthz"), chat(served.url, QUESTION)):
        assert reply.status_code == 503
        error = reply.json()["error"]
        assert error["message"] == "the engine has failed" and error["fix"]
        assert "memory" not in reply.text  # what happened is in the server's log
