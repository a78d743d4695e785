"""Errors as OpenAI writes them: `{"error": {"message", "type", "param", "code"}}`.

`expected` and `fix` of a `ZvError` come beside these. Wrong input has a 4xx status, whatever raises
the error; what nobody foresaw is a 500 without details, which are in the server's log.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import FastAPI, HTTPException, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException as PlainHTTPException

from zv_jax.data.text.dialogue import TooLong
from zv_jax.errors import ConfigError, DataError, ServerError, ZvError, nearest

_TYPES = {
    401: "authentication_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    429: "rate_limit_error",
    504: "timeout_error",
}
_SHOWN = 200  # characters of what a request holds


class Refusal(HTTPException):
    """A request that gets no answer.

    It is an `HTTPException` so that FastAPI hands it on when reading a body raises it.

    Attributes:
        error: what is wrong; its `where` is the field of the request.
        code: a word for programs, of OpenAI's where there is one.
    """

    def __init__(
        self,
        status: int,
        error: ZvError,
        code: str | None = None,
        headers: Mapping[str, str] | None = None,
    ):
        super().__init__(status, str(error), headers)
        self.error, self.code = error, code

    def response(self) -> JSONResponse:
        """The reply."""
        content = body(self.status_code, self.error, self.code)
        return JSONResponse(content, self.status_code, self.headers)


def body(status: int, error: ZvError, code: str | None = None) -> dict[str, Any]:
    """The error object."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    content = {"message": error.what, "type": kind, "param": error.where, "code": code}
    content |= {"expected": error.expected, "fix": error.fix}
    return {"error": {k: v for k, v in content.items() if v or k not in ("expected", "fix")}}


def refusal_of(error: Exception) -> Refusal | None:
    """The refusal that an error amounts to; None for one that is the server's fault."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, TooLong):
        return Refusal(400, error, "context_length_exceeded")
    if isinstance(error, DataError | ConfigError):
        return Refusal(400, error)
    return None


def fault() -> Refusal:
    """What is said of an error that is not the client's."""
    return Refusal(500, ServerError("the server failed", fix="see its log"))


def engine_failed() -> Refusal:
    """For whoever asks after the engine has failed."""
    what, fix = "the engine has failed", "see the server's log, and start the server again"
    return Refusal(503, ServerError(what, expected="an engine that works", fix=fix))


def install(app: FastAPI) -> None:
    """Makes all errors of `app` such objects."""

    @app.exception_handler(ZvError)
    async def own(request: Request, error: ZvError) -> JSONResponse:
        found = refusal_of(error)
        if found is None:
            raise error
        return found.response()

    @app.exception_handler(Refusal)
    async def refused(request: Request, error: Refusal) -> JSONResponse:
        return error.response()

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        return _invalid(error).response()

    @app.exception_handler(PlainHTTPException)
    async def plain(request: Request, error: PlainHTTPException) -> JSONResponse:
        what = f"{request.method} {request.url.path[:_SHOWN]}: {error.detail}"
        refused = Refusal(error.status_code, ServerError(what), headers=error.headers)
        return refused.response()

    @app.exception_handler(Exception)
    async def unforeseen(request: Request, error: Exception) -> JSONResponse:
        return fault().response()


def _invalid(error: RequestValidationError) -> Refusal:
    """The deepest mistake: of the alternatives of a field, the one that was meant."""
    found = max(error.errors(), key=lambda e: len(e["loc"]))
    place = _place(found["loc"][1:], error.body)
    param = "".join(f"[{p}]" if isinstance(p, int) else f".{p}" for p in place).lstrip(".")
    expected = fix = None
    what = found["msg"]
    if found["type"] == "json_invalid":
        what, param = f"the request is no JSON, at character {found['loc'][-1]}", ""
        fix = "send one JSON object in UTF-8"
    elif not place:
        what, expected = "the request is no JSON object", "Content-Type: application/json"
    elif found["type"] == "extra_forbidden":
        what = f"unknown field {str(place[-1])[:_SHOWN]!r}"
        fix = "leave it out"
    return Refusal(400, DataError(what, param[:_SHOWN] or None, expected, fix))


def _place(loc: Sequence[int | str], body: Any) -> list[int | str]:
    """The path of a field in a body; pydantic's has the names of alternatives in it, too."""
    path: list[int | str] = []
    for number, step in enumerate(loc):
        inside = isinstance(body, dict) and step in body
        if inside or (isinstance(body, list) and isinstance(step, int) and step < len(body)):
            path.append(step)
            body = body[step]
        elif isinstance(body, dict) and number == len(loc) - 1:  # a field that is missing
            path.append(step)
    return path


def unknown_model(asked: str, name: str) -> Refusal:
    """For a request to another model."""
    return Refusal(
        404,
        DataError(
            f"there is no model {asked[:_SHOWN]!r}{nearest(asked[:_SHOWN], [name])}",
            where="model",
            expected=name,
            fix="GET /v1/models",
        ),
        "model_not_found",
    )
