"""A stream ends with its client, and at its deadline with one that does not read."""

import asyncio

import pytest

pytest.importorskip("fastapi")

from zv_jax.serving import sse
from zv_jax.serving.sse import Stream


def test_a_client_that_does_not_read_holds_nothing_for_ever(monkeypatch):
    monkeypatch.setattr(sse, "_GRACE", 0.05)
    closed = []

    async def chunks():
        try:
            while True:
                yield {"text": "图"}
        finally:
            closed.append(True)

    async def run():
        sent = []

        async def send(message):
            sent.append(message)
            if len(sent) == 3:
                await asyncio.Event().wait()

        await Stream(chunks(), asyncio.get_running_loop().time()).stream_response(send)
        return sent

    sent = asyncio.run(run())
    assert [m.get("body") for m in sent[1:]] == ['data: {"text":"图"}\n\n'.encode()] * 2
    assert closed == [True]


def test_silence_is_a_comment_and_a_fault_is_the_last_event():
    async def chunks():
        yield None
        raise RuntimeError("/secret/path")

    async def run():
        stream = Stream(chunks(), asyncio.get_running_loop().time() + 60)
        return b"".join([line async for line in stream.body_iterator])

    text = asyncio.run(run()).decode()
    assert text.startswith(": ping\n\n") and '"type":"server_error"' in text
    assert "secret" not in text and "[DONE]" not in text
