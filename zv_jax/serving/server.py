"""Runs the application until SIGTERM or Ctrl-C, and lets what is under way end."""

from __future__ import annotations

import math
import signal
import socket
import sys
from collections.abc import Callable

import uvicorn
from fastapi import FastAPI

from zv_jax.errors import SetupError


class Server(uvicorn.Server):
    """uvicorn, which says where it listens as soon as it does."""

    def __init__(self, config: uvicorn.Config, ready: Callable[[int], None]):
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._ready(self.servers[0].sockets[0].getsockname()[1])


def server(
    app: FastAPI, host: str, port: int, timeout: float, ready: Callable[[int], None]
) -> Server:
    """A server; `run` it.

    Args:
        port: 0 takes any that is free.
        timeout: seconds that requests may take to end, once the server is to end.
        ready: called with the port when connections are accepted.
    """
    config = uvicorn.Config(
        app,
        host,
        port,
        http="h11",
        ws="none",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(timeout),
    )
    return Server(config, ready)


def run(app: FastAPI, host: str, port: int, timeout: float, ready: Callable[[int], None]) -> None:
    """Serves until a signal; requests that came before it are answered.

    Raises:
        SetupError: the address cannot be had.
        KeyboardInterrupt: the signal was SIGINT, from Ctrl-C.
    """
    ended = lambda number, frame: None  # uvicorn raises SIGTERM once more when all is done
    before = signal.signal(signal.SIGTERM, ended)
    try:
        server(app, host, port, timeout, ready).run()
    except SystemExit as error:  # uvicorn has logged why
        raise SetupError(
            f"{host}:{port} cannot be listened on",
            expected="an address of this machine and a free port",
            fix="--port 0 takes any that is free",
        ) from error
    finally:
        signal.signal(signal.SIGTERM, before)
        sys.stdout.flush()
