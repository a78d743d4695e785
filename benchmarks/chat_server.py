"""A scripted server that speaks OpenAI's protocol, on loopback, fast enough to measure a client by.

It answers every chat completion after a pause, counts what a real one would bill, and errs where
`script` says so. It has no model: a reply is a function of the request.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import multiprocessing
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

Script = Callable[[dict[str, Any], int], Any]


def words(body: dict[str, Any]) -> str:
    """A reply that is a function of the request."""
    text = json.dumps(body["messages"], sort_keys=True, ensure_ascii=False)
    return "word " + hashlib.sha256(text.encode()).hexdigest()[:8]


def usage(body: dict[str, Any]) -> dict[str, int]:
    """Tokens that are a function of the request."""
    size = len(json.dumps(body["messages"], ensure_ascii=False))
    return {"prompt_tokens": size // 4 + 1, "completion_tokens": 1 + size % 7}


def completion(body: dict[str, Any], text: str, finish: str = "stop") -> dict[str, Any]:
    """A completion in the server's form."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": finish}
    return {"id": "c", "model": "scripted-1", "choices": [choice], "usage": usage(body)}


@dataclass
class Bill:
    """What a server has sent as completions, each time it did: by request, and its tokens."""

    paid: Counter[str] = field(default_factory=Counter)
    tokens_in: int = 0
    tokens_out: int = 0
    seen: int = 0
    now: int = 0
    busiest: int = 0

    def add(self, body: dict[str, Any]) -> None:
        count = usage(body)
        self.paid[json.dumps(body, sort_keys=True)] += 1
        self.tokens_in += count["prompt_tokens"]
        self.tokens_out += count["completion_tokens"]


class ChatServer:
    """The server; `await serve()` within an event loop, or `running` for a thread of its own.

    Args:
        pause: seconds before an answer.
        script: (body, how often this body has come before) -> None for a good reply, a text to
            say instead, a status, (status, headers), or one of ``reset``, ``drip``, ``cut``,
            ``silent``.
    """

    def __init__(self, pause: float = 0.0, script: Script = lambda body, before: None):
        self.pause, self.script, self.bill = pause, script, Bill()
        self.bodies: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self._before: Counter[str] = Counter()
        self.keep = True  # whether bodies and headers are kept

    async def serve(self, port: int = 0) -> asyncio.Server:
        server = await asyncio.start_server(self._connection, "127.0.0.1", port, backlog=1024)
        self.port = server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/v1"
        return server

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while await self._request(reader, writer):
                pass
        writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.rstrip().split("\r\n")
        method, path, _ = first.split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        content = await reader.readexactly(int(headers.get("content-length", 0)))
        return await self.respond(method, path, headers, content, writer)

    async def respond(
        self,
        method: str,
        path: str,
        headers: dict[str, str],
        content: bytes,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answers one request; False closes the connection."""
        if path != "/v1/chat/completions":
            return await send(writer, 404, b'{"error": "no such address"}')
        body = json.loads(content)
        if self.keep:
            self.bodies.append(body)
            self.headers.append(headers)
        bill, name = self.bill, json.dumps(body, sort_keys=True)
        before, self._before[name] = self._before[name], self._before[name] + 1
        bill.seen += 1
        bill.now += 1
        bill.busiest = max(bill.busiest, bill.now)
        try:
            await asyncio.sleep(self.pause)
            return await self.act(self.script(body, before), body, headers, writer)
        finally:
            bill.now -= 1

    async def act(
        self, act: Any, body: dict[str, Any], headers: dict[str, str], writer: asyncio.StreamWriter
    ) -> bool:
        """Does what the script says."""
        if isinstance(act, int):
            said = f"told to by {headers.get('authorization')}"
            return await send(writer, act, json.dumps({"error": said}).encode())
        if isinstance(act, tuple):
            return await send(writer, act[0], b"{}", act[1])
        if act == "silent":  # until the client gives up
            await asyncio.sleep(30)
            return False
        if act == "reset":
            writer.transport.abort()
            return False
        text = words(body) if act in (None, "cut", "drip") else act
        whole = text if isinstance(text, dict) else completion(body, text)
        data = json.dumps(whole, ensure_ascii=False).encode()
        if act == "cut":  # truncated JSON, of the length that is announced
            data = data[: len(data) // 2]
        if act == "drip":
            writer.write(head(200, len(data)))
            for byte in data:
                writer.write(bytes([byte]))
                await writer.drain()
                await asyncio.sleep(0.05)
            return False
        self.bill.add(body)  # before it is sent: a client that is killed now has been billed
        return await send(writer, 200, data)


def head(status: int, length: int, headers: dict[str, str] | None = None) -> bytes:
    """The head of an answer."""
    lines = [f"HTTP/1.1 {status} as scripted", "Content-Type: application/json",
             f"Content-Length: {length}",
             *(f"{name}: {value}" for name, value in (headers or {}).items())]  # fmt: skip
    return "\r\n".join([*lines, "", ""]).encode()


async def send(
    writer: asyncio.StreamWriter, status: int, data: bytes, headers: dict[str, str] | None = None
) -> bool:
    """Sends an answer and keeps the connection."""
    writer.write(head(status, len(data), headers) + data)
    await writer.drain()
    return True


@contextlib.contextmanager
def running(server: ChatServer, port: int = 0) -> Iterator[ChatServer]:
    """`server` in a thread of its own, up and answering."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    listening = asyncio.run_coroutine_threadsafe(server.serve(port), loop).result()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(listening.close)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextlib.contextmanager
def in_a_process(pause: float) -> Iterator[str]:
    """The address of a server in a process of its own, so that it shares no core with a client."""
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_main, args=(pause, theirs))
    process.start()
    try:
        yield ours.recv()
    finally:
        process.kill()
        process.join()


def _main(pause: float, pipe: Any) -> None:
    async def forever() -> None:
        server = ChatServer(pause)
        server.keep = False
        listening = await server.serve()
        pipe.send(server.url)
        await listening.serve_forever()

    asyncio.run(forever())
