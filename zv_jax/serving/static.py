"""The page for people: its files, and the headers that let it do no more than it needs.

Its script is only ours, it talks to this server only, and an answer can make it fetch nothing.
"""

from __future__ import annotations

from pathlib import Path

from fastapi import FastAPI, Request, Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER = Path(__file__).parent / "page"

_POLICY = (
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "connect-src 'self'",
    "img-src 'self' data: blob:",
    "object-src 'none'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    # No text becomes markup or script but through the sanitiser.
    "require-trusted-types-for 'script'",
    "trusted-types dompurify",
)
HEADERS = {
    "Content-Security-Policy": "; ".join(_POLICY),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    # Browsers look up the names in links of a page before anybody follows one.
    "X-DNS-Prefetch-Control": "off",
    # Asked for each time, sent only if it changed: a new version never meets an old one's files.
    "Cache-Control": "no-cache",
}
# Not left to the tables of the operating system, which may lack them.
_TYPES = {
    ".css": "text/css",
    ".html": "text/html",
    ".json": "application/json",
    ".mjs": "text/javascript",
    ".svg": "image/svg+xml",
}


class _Files(StaticFiles):
    """The files of the page, with `HEADERS`."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        reply = await super().get_response(path, scope)
        reply.headers.update(HEADERS)
        kind = _TYPES.get(Path(path).suffix, "text/plain")
        if "content-type" in reply.headers:  # a file that has not changed is sent without one
            reply.headers["content-type"] = f"{kind}; charset=utf-8"
        return reply


def install(app: FastAPI) -> None:
    """Serves the page at `/` and its files below `/page/`."""
    files = _Files(directory=FOLDER)

    @app.get("/", include_in_schema=False)
    async def page(request: Request) -> Response:
        return await files.get_response("index.html", request.scope)

    app.mount("/page", files)
