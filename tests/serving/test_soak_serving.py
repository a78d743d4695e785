"""`make soak`: 64 clients at once, images of fifty megapixels among theirs, and SIGTERM at the end.

`ZV_SOAK_SECONDS` sets the duration, ten minutes by default.
"""

import asyncio
import collections
import contextlib
import json
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx2
import numpy as np
import pytest
from asked import assistant, png, user

pytest.importorskip("fastapi")
pytestmark = pytest.mark.soak

ROOT = Path(__file__).resolve().parent.parent.parent
SECONDS = float(os.environ.get("ZV_SOAK_SECONDS", "600"))
CLIENTS, SLOTS, QUEUE = 64, 8, 32
WARM = 0.4  # of the duration, until memory is held to what it was


@pytest.fixture(scope="module")
def server(folder):
    """A process of `zv serve`, and its address."""
    command = [sys.executable, "-m", "zv_jax", "serve", f"--checkpoint={folder('stage2', 'chat')}"]
    command += [f"--slots={SLOTS}", f"--queue={QUEUE}", "--max_new_tokens=16", "--port=0"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            name, url = re.findall(r"^serving (\S+) at (\S+)/v1\n$", process.stdout.readline())[0]
            yield process, name, url
        finally:
            process.kill()


def requests(name, images) -> list[dict]:
    """Texts, images, turns, draws, several answers; half of each as a stream."""
    talk = [user("What is in the picture?", images[0]), assistant("a red square")]
    asked = [
        dict(messages=[user("Where is it?")]),
        dict(messages=[user("图里有什么？", images[1])], temperature=1.2, seed=7),
        dict(messages=[user("How many are there?", images[2])], n=2, seed=3),
        dict(messages=[*talk, user("图里呢？", images[1])]),
        dict(messages=[*talk, user("Is it above the other one?")], logprobs=True),
    ]
    return [
        {"model": name, "max_tokens": 12, "stream": stream, **fields}
        for fields in asked
        for stream in (False, True)
    ]


async def texts(client, body) -> list[str] | int:
    """The answers to a request, or the status of its refusal."""
    reply = await client.post("/v1/chat/completions", json=body)
    if reply.status_code != 200:
        assert reply.status_code != 429 or int(reply.headers["retry-after"]) >= 1
        return reply.status_code
    if not body["stream"]:
        return [choice["message"]["content"] for choice in reply.json()["choices"]]
    found = [""] * body.get("n", 1)
    *chunks, last = re.findall(r"^data: (.*)$", reply.text, re.MULTILINE)
    assert last == "[DONE]"
    for chunk in map(json.loads, chunks):
        for choice in chunk["choices"]:
            found[choice["index"]] += choice["delta"].get("content") or ""
    return found


def resident(pid: int) -> int:
    """Kilobytes in memory."""
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1])


class Watch(threading.Thread):
    """Looks at memory and `/healthz` while others ask."""

    def __init__(self, process: subprocess.Popen, url: str):
        super().__init__(daemon=True)
        self.process, self.url = process, url
        self.memory: list[tuple[float, int]] = []
        self.seconds: list[float] = []
        self.ended = threading.Event()

    def run(self) -> None:
        with httpx2.Client(base_url=self.url, timeout=60) as client:
            while not self.ended.wait(0.25) and self.process.poll() is None:
                self.memory.append((time.monotonic(), resident(self.process.pid)))
                start = time.monotonic()
                assert client.get("/healthz").status_code == 200
                self.seconds.append(time.monotonic() - start)


async def crowd(url, bodies, expected, large, seconds) -> collections.Counter:
    """Asks for that long; how often each thing came back."""
    counts: collections.Counter = collections.Counter()
    end = time.monotonic() + seconds
    limits = httpx2.Limits(max_connections=CLIENTS)

    async def one(number: int, client) -> None:
        choose = random.Random(number)
        while time.monotonic() < end:
            k = choose.randrange(len(bodies))
            if number == 0:
                found, k = await texts(client, large[0]), None
            elif choose.random() < 0.05:  # a client that does not wait
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(texts(client, bodies[k]), choose.random() / 2)
                counts["left"] += 1
                continue
            else:
                found = await texts(client, bodies[k])
            if found == 429:
                counts["refused"] += 1
                await asyncio.sleep(1)
                continue
            assert found == (large[1] if k is None else expected[k]), (k, found)
            counts["large" if k is None else "answered"] += 1

    async with httpx2.AsyncClient(base_url=url, timeout=600, limits=limits) as client:
        await asyncio.gather(*(one(number, client) for number in range(CLIENTS)))
    return counts


async def drained(url, body, count, process) -> list:
    """What requests are answered that have all arrived when the server is told to end."""
    async with httpx2.AsyncClient(base_url=url, timeout=600) as client:
        asked = [asyncio.create_task(texts(client, body)) for _ in range(count)]
        arrived = 0.0
        while arrived < count:
            done = sum(task.done() for task in asked)
            page = (await client.get("/metrics")).text
            counts = re.findall(r"^zv_engine_(?:running|waiting) (\S+)$", page, re.MULTILINE)
            arrived = done + sum(map(float, counts))
        process.send_signal(signal.SIGTERM)
        return await asyncio.gather(*asked)


def test_many_clients_for_long_are_answered_as_one_alone(server, images, record_property):
    """No error but intended refusals, steady memory, and a clean end."""
    process, name, url = server
    bodies = requests(name, images)
    huge = png(np.zeros((5000, 10000, 3), np.uint8))
    large = {"model": name, "max_tokens": 4, "stream": False, "messages": [user("What?", huge)]}

    async def alone() -> list:
        async with httpx2.AsyncClient(base_url=url, timeout=600) as client:
            return [await texts(client, body) for body in [*bodies, large]]

    *expected, of_large = asyncio.run(alone())
    assert all(isinstance(found, list) and any(found) for found in expected)
    watch = Watch(process, url)
    watch.start()
    start = time.monotonic()
    try:
        counts = asyncio.run(crowd(url, bodies, expected, (large, of_large), SECONDS))
    except httpx2.TransportError:
        assert process.poll() is None, f"the server has ended with {process.returncode}"
        raise
    watch.ended.set()
    watch.join()
    took = time.monotonic() - start
    later = [kilobytes for at, kilobytes in watch.memory if at > start + WARM * took]
    before, after = (statistics.median(part) for part in (later[: len(later) // 3], later[-9:]))
    looks = sorted(watch.seconds)
    figures = dict(
        counts,
        seconds=round(took),
        rss_mb=(round(before / 1024), round(after / 1024)),
        healthz_ms={q: round(1000 * looks[int(q * (len(looks) - 1))], 1) for q in (0.5, 0.95, 1)},
    )
    record_property("figures", figures)
    print(figures)
    assert counts["answered"] and counts["large"]
    assert after < 1.05 * before
    # As many as the server has room for: none of these may be refused.
    count = SLOTS + QUEUE
    assert asyncio.run(drained(url, bodies[0], count, process)) == [expected[0]] * count
    assert process.wait(timeout=120) == 0
    assert statistics.median(looks) < 0.05  # last: on a machine that others use it may not hold
