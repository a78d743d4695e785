"""The routes of the server."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from prometheus_client import CONTENT_TYPE_LATEST

import zv_jax
from zv_jax.errors import ConfigError
from zv_jax.inference.model import Model
from zv_jax.serving import documented, listening, refusals, static
from zv_jax.serving.asking import Asking
from zv_jax.serving.completions import Completion
from zv_jax.serving.embeddings import Embeddings
from zv_jax.serving.follow import Current
from zv_jax.serving.images import Images
from zv_jax.serving.jobs import Answering
from zv_jax.serving.limits import Gate, Places
from zv_jax.serving.looks import Looks
from zv_jax.serving.metrics import Counted, Metrics
from zv_jax.serving.remote import Remote
from zv_jax.serving.requests import AttentionRequest, ChatRequest, EmbeddingRequest
from zv_jax.serving.settings import Settings
from zv_jax.serving.sse import Stream

GONE = 499  # nginx' status for a client that did not wait


def create_app(current: Current, engine: Answering | None, settings: Settings) -> FastAPI:
    """The application.

    Args:
        current: holds the model, which another one may replace.
        engine: answers; None for a model without a language model.

    Raises:
        ConfigError: `settings.max_new_tokens` leaves no room for a prompt.
    """
    # The pages that FastAPI has for its document load scripts from elsewhere.
    app = FastAPI(title="zv serve", version=zv_jax.__version__, docs_url=None, redoc_url=None)
    metrics, model = Metrics(engine), current.model
    size, transparency = model.config.model.vision.image_size, model.config.data.transparency
    images = Images(size, transparency, Remote() if settings.remote_images else None)
    refusals.install(app)
    about = _about(model, engine, settings)
    _add_facts(app, engine, metrics, lambda: about | {"step": current.model.step})
    asking = engine and Asking(current, images, engine.slots, settings.max_new_tokens)
    _add_chat(app, asking, engine, metrics, settings)
    _add_embeddings(app, Embeddings(current, images), settings)
    _add_attention(app, Looks(current, images), settings)
    static.install(app)
    documented.install(app, settings)
    app.add_middleware(Gate, settings=settings, places=Places(settings.requests))
    paths = frozenset(route.path for route in app.routes if hasattr(route, "path"))
    app.add_middleware(Counted, metrics=metrics, paths=paths)
    return app


def _about(model: Model, engine: Answering | None, settings: Settings) -> dict[str, Any]:
    """The model as `/v1/models` has it; after `owned_by`, what a client must know to ask it."""
    about = {"id": settings.name, "object": "model", "created": int(time.time())}
    return about | {
        "owned_by": "zv_jax",
        "box_decimals": model.config.data.box_decimals,
        "max_answers": engine.slots if engine else 0,
        "max_tokens": settings.max_new_tokens if engine else 0,
        "max_request_bytes": settings.max_body,
        "follows": settings.follows,
        "sees": model.sees,
    }


def _add_facts(
    app: FastAPI,
    engine: Answering | None,
    metrics: Metrics,
    about: Callable[[], dict[str, Any]],
) -> None:
    name = about()["id"]

    @app.get("/healthz", responses=documented.refused(503))
    async def healthz() -> dict[str, str]:
        if engine is not None and engine.error is not None:
            raise refusals.engine_failed()
        return {"status": "ok"}

    @app.get("/metrics", response_class=PlainTextResponse)
    async def shown() -> Response:
        return Response(metrics.page(), media_type=CONTENT_TYPE_LATEST)

    @app.get("/v1/models", responses=documented.refused(401))
    async def models() -> dict[str, Any]:
        return {"object": "list", "data": [about()]}

    @app.get("/v1/models/{asked}", responses=documented.refused(401, 404))
    async def one(asked: str) -> dict[str, Any]:
        _check_model(asked, name)
        return about()


def _add_chat(
    app: FastAPI,
    asking: Asking | None,
    engine: Answering | None,
    metrics: Metrics,
    settings: Settings,
) -> None:
    @app.post("/v1/chat/completions", responses=documented.completion())
    async def chat(body: ChatRequest, request: Request) -> Response:
        _check_model(body.model, settings.name)
        if engine is None or not asking:
            raise ConfigError(
                "this model gives no answers",
                where="model",
                expected="a checkpoint of stage 1 or 2",
                fix="ask /v1/embeddings",
            )
        if engine.error is not None:
            raise refusals.engine_failed()
        deadline = asyncio.get_running_loop().time() + settings.timeout
        try:
            async with asyncio.timeout_at(deadline):
                jobs = await asking.jobs(body)
        except TimeoutError:
            raise listening.late() from None
        events = listening.events(engine, jobs, deadline, metrics)
        completion = Completion(body, asking.tokenizer)
        if body.stream:
            return Stream(completion.chunks(events), deadline)
        return await _unless_gone(request, completion.whole(events))


def _add_embeddings(app: FastAPI, embeddings: Embeddings, settings: Settings) -> None:
    @app.post("/v1/embeddings", responses=documented.embeddings())
    async def embed(body: EmbeddingRequest, request: Request) -> Response:
        _check_model(body.model, settings.name)
        return await _unless_gone(request, embeddings.reply(body))


def _add_attention(app: FastAPI, looks: Looks, settings: Settings) -> None:
    @app.post("/v1/attention", responses=documented.attention())
    async def look(body: AttentionRequest, request: Request) -> Response:
        _check_model(body.model, settings.name)
        return await _unless_gone(request, looks.reply(body))


def _check_model(asked: str, name: str) -> None:
    """Refuses a request for a model that is not the one served here, `name`."""
    if asked != name:
        raise refusals.unknown_model(asked, name)


async def _unless_gone(request: Request, work: Coroutine[Any, Any, dict[str, Any]]) -> Response:
    """The reply that `work` makes; it is cancelled as soon as the client is gone."""
    tasks = [asyncio.create_task(work), asyncio.create_task(_gone(request))]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        if tasks[0].done():
            return JSONResponse(tasks[0].result())
        return Response(status_code=GONE)  # to nobody
    finally:
        for task in tasks:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await task


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
