"""The gate before everything below `/v1/`: key, number of requests, their size and slowness.

It is passed before a byte of the body is read, so that what waits outside takes no memory.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import math
import time
from collections.abc import Iterator

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zv_jax.errors import DataError, ServerError
from zv_jax.serving.refusals import Refusal
from zv_jax.serving.settings import Settings

_LONGEST_WAIT = 60  # seconds of Retry-After
_SHARE = 0.1  # of the latest request in the mean


class Places:
    """Room for requests; who finds none is told when to come back.

    Attributes:
        limit: requests at once. taken: of these now.
    """

    def __init__(self, limit: int):
        self.limit, self.taken = limit, 0
        self._mean = 1.0  # seconds of a request

    @contextlib.contextmanager
    def one(self) -> Iterator[None]:
        """A place while the context lasts.

        Raises:
            Refusal: all are taken.
        """
        if self.taken >= self.limit:
            # Of places that are all taken, one is left after this time on average.
            wait = min(max(math.ceil(self._mean / self.limit), 1), _LONGEST_WAIT)
            error = ServerError(
                f"{self.taken} requests are under way",
                expected=f"at most {self.limit} at once",
                fix=f"ask again in {wait} s",
            )
            raise Refusal(429, error, "rate_limit_exceeded", {"Retry-After": str(wait)})
        self.taken += 1
        start = time.monotonic()
        try:
            yield
        finally:
            self.taken -= 1
            self._mean += _SHARE * (time.monotonic() - start - self._mean)


class Gate:
    """Middleware that refuses what may not enter; see the module."""

    def __init__(self, app: ASGIApp, settings: Settings, places: Places):
        self.app, self.settings, self.places = app, settings, places

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/v1/"):
            return await self.app(scope, receive, send)
        try:
            headers = Headers(scope=scope)
            self._check_key(headers)
            body = _Body(receive, self.settings)
            body.check(headers)
            with self.places.one() if scope["method"] == "POST" else contextlib.nullcontext():
                await self.app(scope, body.receive, send)
        except Refusal as refusal:
            await refusal.response()(scope, receive, send)

    def _check_key(self, headers: Headers) -> None:
        if not self.settings.key:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        right = hmac.compare_digest(given.encode(), self.settings.key.encode())
        if scheme.lower() != "bearer" or not right:
            error = DataError(
                "no key, or a wrong one",
                where="Authorization",
                expected="Bearer KEY",
                fix="give the client the key of this server",
            )
            raise Refusal(401, error, "invalid_api_key", {"WWW-Authenticate": "Bearer"})


class _Body:
    """What arrives of a request, within the limits of size and time."""

    def __init__(self, receive: Receive, settings: Settings):
        self._receive, self._settings = receive, settings
        self._size, self._complete = 0, False
        self._deadline = time.monotonic() + settings.timeout

    def check(self, headers: Headers) -> None:
        """Refuses a request that says itself that it is too large."""
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length) > self._settings.max_body:
            raise self._too_large()

    async def receive(self) -> Message:
        if self._complete:  # to hear of a disconnect takes as long as it takes
            return await self._receive()
        try:
            left = max(self._deadline - time.monotonic(), 0)
            message = await asyncio.wait_for(self._receive(), left)
        except TimeoutError:
            error = ServerError("the request arrived too slowly", fix="send it again")
            raise Refusal(408, error, headers={"Connection": "close"}) from None
        self._size += len(message.get("body", b""))
        self._complete = not message.get("more_body", False)
        if self._size > self._settings.max_body:
            raise self._too_large()
        return message

    def _too_large(self) -> Refusal:
        error = DataError(
            "the request is too large",
            expected=f"at most {self._settings.max_body:,} bytes",
            fix="send fewer or smaller images",
        )
        return Refusal(413, error, headers={"Connection": "close"})
