"""How fast a server is asked: requests and tokens a minute, and requests in flight.

What is in flight adapts as the window of TCP does: one more for each window of replies that went
well, half at a 429. A wait that the server asks for holds back every request.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from zv_jax.llm.endpoint import Endpoint

if TYPE_CHECKING:
    import aiolimiter

_BUCKET = 6.0  # seconds: how much of a minute's tokens may come at once


class Limits:
    """The limits of one endpoint; made and used within one event loop."""

    def __init__(self, endpoint: Endpoint):
        import aiolimiter

        rate, tokens = endpoint.per_minute, endpoint.tokens_per_minute
        # A minute's worth at once would be a burst: one at a time, evenly.
        self._requests = aiolimiter.AsyncLimiter(1, 60 / rate) if rate else None
        size = max(1.0, tokens * _BUCKET / 60)
        self._tokens = aiolimiter.AsyncLimiter(size, size * 60 / tokens) if tokens else None
        self.window = Window(endpoint.concurrency)
        self._resume = 0.0  # loop time before which the server wants no request
        self._ratio = 1.0  # tokens that were used by tokens that were expected

    @asynccontextmanager
    async def place(self, tokens: int) -> AsyncIterator[int]:
        """Waits until a request of about `tokens` may be sent; gives what `throttled` wants."""
        async with self.window.place() as turn:
            loop = asyncio.get_running_loop()
            while (wait := self._resume - loop.time()) > 0:
                await asyncio.sleep(wait)
            if self._requests is not None:
                await self._requests.acquire()
            if self._tokens is not None:
                await _in_pieces(self._tokens, tokens * self._ratio)
            yield turn

    def went_well(self, expected: int, used: int) -> None:
        """Notes a reply, and by how much its tokens differ from what was expected."""
        self.window.grow()
        if expected > 0 and used > 0:
            self._ratio += 0.1 * (used / expected - self._ratio)

    def throttled(self, turn: int) -> None:
        """Notes that a request was one too many."""
        self.window.halve(turn)

    def hold(self, seconds: float) -> None:
        """Holds back every request for so long."""
        self._resume = max(self._resume, asyncio.get_running_loop().time() + seconds)


async def _in_pieces(bucket: aiolimiter.AsyncLimiter, amount: float) -> None:
    while amount > 0:
        piece = min(amount, bucket.max_rate)
        await bucket.acquire(piece)
        amount -= piece


class Window:
    """Places for requests in flight, between one and `most`."""

    def __init__(self, most: int):
        self.most, self.size, self.used = most, float(most), 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turn = 0

    @asynccontextmanager
    async def place(self) -> AsyncIterator[int]:
        """A place, as soon as there is one; gives the number of halvings so far."""
        while self.used >= int(self.size):
            waiter = asyncio.get_running_loop().create_future()
            self._waiting.append(waiter)
            try:
                await waiter
            except asyncio.CancelledError:
                if waiter.done() and not waiter.cancelled():
                    self._wake()  # it had been given to us
                raise
        self.used += 1
        try:
            yield self._turn
        finally:
            self.used -= 1
            self._wake()

    def grow(self) -> None:
        """One more after as many replies as there are places."""
        self.size = min(float(self.most), self.size + 1 / self.size)
        self._wake()

    def halve(self, turn: int) -> None:
        """Half, once for all the requests that were sent before the last halving."""
        if turn == self._turn:
            self._turn += 1
            self.size = max(1.0, self.size / 2)

    def _wake(self) -> None:
        free = int(self.size) - self.used
        while self._waiting and free > 0:
            waiter = self._waiting.popleft()
            if not waiter.done():
                waiter.set_result(None)
                free -= 1
