"""Servers on loopback, with an engine of their own."""

import contextlib
import dataclasses
import threading

import pytest

pytest.importorskip("fastapi")

from asked import NAME
from little_engine import LittleEngine

from zv_jax.serving import server
from zv_jax.serving.api import create_app
from zv_jax.serving.follow import Current
from zv_jax.serving.settings import Settings


@dataclasses.dataclass
class Running:
    """A server that runs: its address, its engine, and `end()` as SIGTERM would."""

    url: str
    engine: LittleEngine
    current: Current
    server: server.Server
    thread: threading.Thread

    def end(self) -> None:
        self.server.should_exit = True
        self.thread.join()


@contextlib.contextmanager
def serving(model, slots=2, kind=LittleEngine, **changes):
    """A server of `model` on a free port of loopback; `changes` are fields of `Settings`."""
    settings = Settings(**{"name": NAME, "max_new_tokens": 32, "timeout": 60.0} | changes)
    port = threading.Semaphore(0)
    ports = []

    def ready(number):
        ports.append(number)
        port.release()

    engine = kind(model, slots=slots, max_new_tokens=32) if model.has_llm else None
    with engine or contextlib.nullcontext():
        current = Current(model)
        app = create_app(current, engine, settings)
        made = server.server(app, "127.0.0.1", 0, 10, ready)
        thread = threading.Thread(target=made.run)
        thread.start()
        assert port.acquire(timeout=30)
        running = Running(f"http://127.0.0.1:{ports[0]}", engine, current, made, thread)
        try:
            yield running
        finally:
            if isinstance(engine, LittleEngine):
                engine.open.set()
            running.end()
