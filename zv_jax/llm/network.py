"""The wire under the connections to an endpoint: httpcore2's network, straight on asyncio.

Its own network goes through several layers of timers, checkpoints and cancel scopes for each read
and write, and sends the head of a request and its body apart. Whoever asks here has one time-out
around a whole try, so none of that is needed; what a core can ask in a second doubles without it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Iterable
from typing import Any

import httpcore2

_TOGETHER = 1 << 16  # bytes that wait for what is sent after them, or for the first read
_AHEAD = 1 << 18  # bytes received that nobody has read, above which no more are taken in


class Network(httpcore2.AsyncNetworkBackend):
    """Opens connections. Time-outs are the caller's: what is passed here is ignored."""

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            _, wire = await loop.create_connection(Wire, host, port, happy_eyeballs_delay=0.25)
        except OSError as error:
            raise httpcore2.ConnectError(str(error)) from error
        return wire


class Wire(asyncio.Protocol, httpcore2.AsyncNetworkStream):
    """One connection."""

    def __init__(self) -> None:
        self._unsent: list[bytes] = []
        self._received = bytearray()
        self._over = False  # the other side has closed, or the connection is broken
        self._error: Exception | None = None
        self._paused = False
        self._full = False  # the system takes nothing more to send for now
        self._waiter: asyncio.Future[None] | None = None

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._unsent.append(buffer)
        if sum(map(len, self._unsent)) < _TOGETHER:
            return
        self._send()
        while self._full and not self._over:
            await self._changed()
        if self._over:
            raise httpcore2.WriteError(str(self._error or "closed by the server"))

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        self._send()
        while not self._received and not self._over:
            await self._changed()
        if self._error is not None and not self._received:
            raise httpcore2.ReadError(str(self._error)) from self._error
        data = bytes(self._received[:max_bytes])
        del self._received[:max_bytes]
        if self._paused and len(self._received) <= _AHEAD:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        loop = asyncio.get_running_loop()
        try:
            secured = await loop.start_tls(
                self._transport, self, ssl_context, server_hostname=server_hostname
            )
        except (OSError, ssl.SSLError) as error:
            self._transport.abort()
            raise httpcore2.ConnectError(str(error)) from error
        if secured is None:
            raise httpcore2.ConnectError("closed by the server while keys were exchanged")
        self._transport = secured
        return self

    async def aclose(self) -> None:
        self._transport.close()

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable":  # asked of an idle connection: then it is of no more use
            return self._over or bool(self._received)
        return self._transport.get_extra_info(info)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport: Any = transport

    def data_received(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > _AHEAD and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._over = True
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:
        self._over, self._error = True, exc
        self._wake()

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._wake()

    def _send(self) -> None:
        if self._unsent:
            self._transport.write(b"".join(self._unsent))
            self._unsent.clear()

    async def _changed(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
