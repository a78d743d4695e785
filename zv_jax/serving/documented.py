"""The OpenAPI document: what FastAPI cannot read from the types of requests.

That is which replies there are, that this server has one model, and whether it asks for a key.
"""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from zv_jax.serving.settings import Settings

Responses = dict[int | str, dict[str, Any]]

_REASONS = {
    400: "the request is wrong; `param` names its field",
    401: "no key, or a wrong one",
    404: "there is no such model",
    408: "the request arrived too slowly",
    413: "the request is too large",
    429: "too many requests at once; Retry-After says when to come back",
    500: "the server failed",
    503: "the engine has failed, or the server ends",
    504: "the answer took too long",
}
ASKED = 400, 401, 404, 408, 413, 429, 500, 503, 504
"""How a request to `POST` below `/v1/` may be refused."""
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
                "expected": {"type": "string"},
                "fix": {"type": "string"},
            },
        }
    },
}
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLv"
    "AAAAAElFTkSuQmCC"
)
_SHOWN = [
    {"type": "image_url", "image_url": {"url": _PIXEL}},
    {"type": "text", "text": "What is in the image?"},
]
_EXAMPLES: dict[str, list[dict[str, Any]]] = {
    "ChatRequest": [
        {"messages": [{"role": "user", "content": "图里有什么？"}], "max_tokens": 4},
        {"messages": [{"role": "user", "content": _SHOWN}], "max_tokens": 4, "stream": True},
    ],
    "AttentionRequest": [{"messages": [{"role": "user", "content": _SHOWN}]}],
    "EmbeddingRequest": [{"input": ["a red square", _SHOWN[0]]}],
}
"""Requests but for the model's name."""
_LIST = {"type": "array", "items": {"type": "object"}}
_USAGE = {"type": "object", "additionalProperties": {"type": "integer"}}


def refused(*statuses: int) -> Responses:
    """Replies with an error."""
    content = {"application/json": {"schema": _ERROR}}
    return {status: {"description": _REASONS[status], "content": content} for status in statuses}


def _reply(about: str, kind: str, **fields: dict[str, Any]) -> dict[str, Any]:
    properties = {"object": {"const": kind}, "model": {"type": "string"}, **fields}
    schema = {"type": "object", "required": list(properties), "properties": properties}
    return {"description": about, "content": {"application/json": {"schema": schema}}}


def completion() -> Responses:
    """Replies of chat completions: of one piece, or a stream."""
    about = "OpenAI's chat.completion; with `stream` its chunks as events, ended by `[DONE]`"
    found = _reply(about, "chat.completion", choices=_LIST, usage=_USAGE)
    found["content"]["text/event-stream"] = {}  # OpenAPI 3.1 has no schema of events
    return {200: found} | refused(*ASKED)


def embeddings() -> Responses:
    """Replies of embeddings."""
    return {200: _reply("OpenAI's list of embeddings", "list", data=_LIST, usage=_USAGE)} | refused(
        *ASKED
    )


def attention() -> Responses:
    """Replies of attention."""
    return {200: _reply("a map for each image", "list", data=_LIST)} | refused(*ASKED)


def install(app: FastAPI, settings: Settings) -> None:
    """Completes the document of `app`, which is made when somebody first asks for it."""
    made = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(made(), settings)
        return app.openapi_schema or {}

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _complete(document: dict[str, Any], settings: Settings) -> None:
    schemas = document["components"]["schemas"]
    for name, examples in _EXAMPLES.items():
        schemas[name]["properties"]["model"]["enum"] = [settings.name]
        schemas[name]["examples"] = [{"model": settings.name, **one} for one in examples]
    for name in ("HTTPValidationError", "ValidationError"):  # ours have status 400
        schemas.pop(name, None)
    for path, methods in document["paths"].items():
        for operation in methods.values():
            operation["responses"].pop("422", None)
            if not path.startswith("/v1/"):
                continue
            if settings.key:
                operation["security"] = [{"key": []}]
            else:
                operation["responses"].pop("401", None)
    if settings.key:
        scheme = {"type": "http", "scheme": "bearer"}
        document["components"]["securitySchemes"] = {"key": scheme}
