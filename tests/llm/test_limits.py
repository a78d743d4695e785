"""How fast a server is asked."""

import asyncio
import time

import pytest
from asking import ask, requests

from benchmarks.chat_server import ChatServer, running
from zv_jax.llm.endpoint import Endpoint
from zv_jax.llm.limits import Limits, Window


def test_requests_in_flight_are_bounded(server, tmp_path):
    server.pause = 0.05
    ask(server, tmp_path, requests(30), concurrency=3)
    assert server.bill.busiest == 3


def test_a_window_is_halved_once_for_all_that_were_sent_before_and_grows_by_one():
    window = Window(16)
    for turn in (0, 0, 0):
        window.halve(turn)
    assert window.size == 8
    window.halve(1)
    window.halve(0)
    assert window.size == 4
    for _ in range(4):
        window.grow()
    assert 4.8 < window.size <= 5
    for _ in range(10_000):
        window.grow()
    assert window.size == 16
    for turn in range(2, 20):
        window.halve(turn)
    assert window.size == 1


def test_a_place_that_is_given_to_a_task_that_was_cancelled_goes_to_the_next():
    async def main():
        window, done = Window(1), []

        async def hold(name, event):
            async with window.place():
                done.append(name)
                await event.wait()

        events = [asyncio.Event() for _ in range(3)]
        tasks = [asyncio.create_task(hold(n, event)) for n, event in enumerate(events)]
        await asyncio.sleep(0)
        events[0].set()
        await asyncio.sleep(0)
        tasks[1].cancel()
        events[2].set()
        await asyncio.wait(tasks)
        return done

    assert asyncio.run(main())[-1] == 2


def test_a_429_halves_what_is_in_flight(tmp_path):
    with running(ChatServer(pause=0.02)) as server:
        # A server that has room for three.
        server.script = lambda body, before: 429 if server.bill.now > 3 else None
        outcomes = ask(server, tmp_path, requests(60), concurrency=16)
    assert len(outcomes) == 60
    assert server.bill.seen < 150  # without it, most of 16 would be sent in vain each time


def test_retry_after_holds_back_every_request(server, tmp_path):
    server.script = lambda body, before: (429, {"Retry-After": "1"}) if not before else None
    begun = time.monotonic()
    ask(server, tmp_path, requests(1))
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize("limit", [{"per_minute": 1200}, {"tokens_per_minute": 60_000}])
def test_requests_and_tokens_a_minute_are_bounded(limit):
    async def main():
        limits = Limits(Endpoint("http://h/v1", "m", concurrency=64, **limit))
        begun = time.monotonic()
        for _ in range(20):
            async with limits.place(340):
                pass
        return time.monotonic() - begun

    # 20 requests at 20 a second; 6,800 tokens, 6,000 of which may come at once, at 1,000 a second
    assert 0.75 <= asyncio.run(main())


def test_expected_tokens_are_corrected_by_what_was_used():
    async def main():
        limits = Limits(Endpoint("http://h/v1", "m", tokens_per_minute=60_000))
        for _ in range(100):
            limits.went_well(1000, 100)  # ten times fewer than expected
        begun = time.monotonic()
        for _ in range(20):
            async with limits.place(1000):
                pass
        return time.monotonic() - begun

    assert asyncio.run(main()) < 5  # 20,000 expected would take 14 seconds
