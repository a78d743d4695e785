"""Chunks as server-sent events, ended by `data: [DONE]`, as OpenAI streams them."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, EventSourceResponse, format_sse_event
from starlette.types import Send

from zv_jax.serving import refusals

_GRACE = 5.0  # seconds to read the end of a stream
_log = logging.getLogger(__name__)


class Stream(EventSourceResponse):
    """A reply of chunks. Its generator is closed with it, also when the client is gone.

    Args:
        deadline: of the loop's clock. The answer has ended before it, but a client that does not
            read would hold its place for ever.
    """

    def __init__(self, chunks: AsyncGenerator[dict[str, Any] | None], deadline: float):
        self._deadline = deadline
        self._lines = _lines(chunks)
        # Proxies are asked to hold nothing back.
        headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
        super().__init__(self._lines, headers=headers)

    async def stream_response(self, send: Send) -> None:
        async with aclosing(self._lines):
            try:
                async with asyncio.timeout_at(self._deadline + _GRACE):
                    await super().stream_response(send)
            except TimeoutError:
                _log.warning("a client did not read its answer in time")


async def _lines(chunks: AsyncGenerator[dict[str, Any] | None]) -> AsyncGenerator[bytes]:
    """The bytes of the stream. After the status is sent an error is an event, and the last one."""
    try:
        async with aclosing(chunks):
            async for chunk in chunks:
                yield KEEPALIVE_COMMENT if chunk is None else _event(chunk)
        yield format_sse_event(data_str="[DONE]")
    except Exception as error:
        refusal = refusals.refusal_of(error)
        if refusal is None:
            _log.exception("a stream failed")
            refusal = refusals.fault()
        yield _event(refusals.body(refusal.status_code, refusal.error, refusal.code))


def _event(content: dict[str, Any]) -> bytes:
    text = json.dumps(content, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return format_sse_event(data_str=text)
