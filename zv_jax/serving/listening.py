"""The events of jobs, from the engine's thread into the event loop."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Callable, Sequence

from zv_jax.errors import ServerError
from zv_jax.serving.jobs import Answering, Ended, Event, Failed, Job, Piece
from zv_jax.serving.metrics import Metrics
from zv_jax.serving.refusals import Refusal

PING = 15.0  # seconds of silence


async def events(
    engine: Answering, jobs: Sequence[Job], deadline: float, metrics: Metrics
) -> AsyncGenerator[tuple[int, Piece | Ended] | None]:
    """(number of the answer, event) until all have ended; None after each `PING` of silence.

    Whatever ends it early, an error, the deadline or a client that is gone, cancels the jobs.

    Args:
        deadline: in seconds of the loop's clock.

    Raises:
        Refusal: the deadline has passed, or the server ends.
        Exception: that of a job which failed.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    heard: asyncio.Queue[tuple[int, Event]] = asyncio.Queue()
    tickets = {}
    try:
        with engine.together():
            for number, job in enumerate(jobs):
                tickets[number] = engine.submit(job, _teller(loop, heard, number))
        silent = True
        while tickets:
            wait = min(deadline - loop.time(), PING)
            try:
                number, event = await asyncio.wait_for(heard.get(), max(wait, 0))
            except TimeoutError:
                if loop.time() >= deadline:
                    metrics.abandoned.labels("timeout").inc(len(tickets))
                    raise late() from None
                yield None
                continue
            if silent:
                metrics.first_piece.observe(loop.time() - start)
                silent = False
            if not isinstance(event, Piece):
                if isinstance(event, Failed) or not event.left:
                    del tickets[number]
                _close(event, metrics)
            assert not isinstance(event, Failed)
            yield number + event.index, event  # only a job that is alone has several answers
    except (asyncio.CancelledError, GeneratorExit):
        metrics.abandoned.labels("disconnect").inc(len(tickets))
        raise
    finally:
        for ticket in tickets.values():
            ticket.cancel()


def _teller(
    loop: asyncio.AbstractEventLoop, heard: asyncio.Queue[tuple[int, Event]], number: int
) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody listens
            loop.call_soon_threadsafe(heard.put_nowait, (number, event))

    return tell


def _close(event: Ended | Failed, metrics: Metrics) -> None:
    """Counts a job that has ended, and raises what it failed with."""
    if isinstance(event, Failed):
        raise event.error
    metrics.tokens.labels("prompt").inc(event.prompt_tokens)
    metrics.tokens.labels("completion").inc(event.tokens)
    if event.reason == "cancelled":
        raise Refusal(503, ServerError("the server ends", fix="ask again"))


def late() -> Refusal:
    """For a request that takes too long."""
    error = ServerError(
        "the answer took too long",
        expected="an answer within the server's --timeout",
        fix="ask for fewer tokens, or later",
    )
    return Refusal(504, error, "timeout")
