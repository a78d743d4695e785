"""What a server counts, for Prometheus."""

from __future__ import annotations

import time

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from zv_jax.serving.jobs import Answering

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100)


class Metrics:
    """The counters of one server; `engine` is None where only embeddings are made."""

    def __init__(self, engine: Answering | None):
        own = self._registry = CollectorRegistry()
        self.requests = Counter(
            "zv_requests", "replies by path and status; 499: gone", ["path", "status"], registry=own
        )
        self.seconds = Histogram(
            "zv_request_seconds", "from request to reply", ["path"], registry=own, buckets=_SECONDS
        )
        self.first_piece = Histogram(
            "zv_first_piece_seconds", "to the first piece", registry=own, buckets=_SECONDS
        )
        self.tokens = Counter("zv_tokens", "of prompts and completions", ["kind"], registry=own)
        self.abandoned = Counter(
            "zv_abandoned_answers", "by disconnect or timeout", ["reason"], registry=own
        )
        for name in ("slots", "running", "waiting", "compiled") if engine else ():
            gauge = Gauge(f"zv_engine_{name}", f"{name}, of the engine", registry=own)
            gauge.set_function(lambda name=name: getattr(engine, name))

    def page(self) -> bytes:
        """In the text format."""
        return generate_latest(self._registry)


class Counted:
    """Middleware that counts requests to `paths`; others are `other`, so that labels stay few."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: frozenset[str]):
        self.app, self.metrics, self.paths = app, metrics, paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        path = scope["path"] if scope["path"] in self.paths else "other"
        start, status = time.monotonic(), 499

        async def noted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, noted)
        finally:
            self.metrics.requests.labels(path, status).inc()
            self.metrics.seconds.labels(path).observe(time.monotonic() - start)
