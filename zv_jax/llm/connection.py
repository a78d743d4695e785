"""One try: a request sent, its answer read, and what went wrong told apart.

What a server can make us hold is bounded. The key is in no error, even where a server repeats it.
"""

from __future__ import annotations

import asyncio
import email.utils
import importlib.util
import time
import urllib.parse
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from zv_jax.errors import SetupError
from zv_jax.llm.endpoint import Endpoint
from zv_jax.llm.reply import NoReply, parsed

if TYPE_CHECKING:
    import httpcore2

AGAIN = frozenset((408, 409, 425, 429))
# Wrong for every request: key, money, address or model; so is an address that points elsewhere.
HOPELESS = frozenset((301, 302, 303, 307, 308, 401, 402, 403, 404, 405))
LONGEST_RETRY_AFTER = 600.0  # seconds
_KEPT = 5.0  # seconds that an unused connection is kept
LARGEST_REPLY = 1 << 20  # bytes: a completion of 100,000 tokens has half as many


@dataclass(eq=False)
class TryFailed(Exception):
    """A try without a reply.

    Attributes:
        reason: ``timeout``, ``connection``, ``garbage`` or ``http:<status>``.
        detail: the beginning of what was said.
        again: whether it may go better later. after: seconds the server wants to be left alone.
        hopeless: whether every other request will fail in the same way.
        charged: whether it may have been paid for. usage: what the server counted, if it said so.
        reached: whether something answered.
    """

    reason: str
    detail: str = ""
    again: bool = False
    after: float | None = None
    hopeless: bool = False
    charged: bool = False
    usage: Mapping[str, Any] | None = None
    reached: bool = True

    def __str__(self) -> str:
        return f"{self.reason}: {self.detail}" if self.detail else self.reason

    @property
    def throttled(self) -> bool:
        """Whether the request was one too many, and nothing else is wrong."""
        return self.reason == "http:429" and self.again


class Connection:
    """Connections to an endpoint; use it as ``async with Connection(endpoint)``."""

    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint

    async def __aenter__(self) -> Connection:
        import httpcore2
        import httpx2

        from zv_jax.llm.network import Network

        end = self.endpoint
        # Replies are read as they come: a compressed one could unfold to gigabytes.
        self._headers = httpx2.Headers({"Accept": "*/*", "Accept-Encoding": "identity"})
        if end.key:
            self._headers["Authorization"] = f"Bearer {end.key}"
        trusted, proxy, network = httpx2.create_ssl_context(), _proxy(end.url), Network()
        # A pool for each place: one looks at all its connections for every request.
        self._idle = [
            httpcore2.AsyncConnectionPool(
                ssl_context=trusted,
                proxy=proxy,
                max_connections=1,
                keepalive_expiry=_KEPT,
                network_backend=network,
            )
            for _ in range(end.concurrency)
        ]
        self._all = list(self._idle)
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(pool.aclose() for pool in self._all))

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The completion of a chat, as the server sent it.

        Raises:
            TryFailed: there is none.
        """
        content = await self.send("POST", "/chat/completions", LARGEST_REPLY, json=body)
        try:
            return parsed(content)
        except NoReply as none:
            said = f"{none}: {self._said(content[:80])}"
            raise TryFailed("garbage", said, True, charged=True, usage=none.usage) from none

    async def send(
        self, method: str, path: str, largest: int, timeout: float | None = None, **request: Any
    ) -> bytes:
        """The body of a good answer to a request below the endpoint's address.

        Args:
            timeout: seconds; None takes the endpoint's. request: what is sent: json, data, files.

        Raises:
            TryFailed: there is none, or it is larger than `largest` bytes.
        """
        import httpcore2

        end = self.endpoint
        seconds = end.timeout if timeout is None else timeout
        asked = self._asked(method, end.url.rstrip("/") + path, **request)
        pool = self._idle.pop()
        try:
            # The time-outs of an HTTP client start anew with every byte.
            async with asyncio.timeout(seconds):
                answer = await pool.handle_async_request(asked)
                try:
                    content = await _bounded(answer, largest)
                finally:
                    await answer.aclose()
        except (httpcore2.ConnectError, httpcore2.ProxyError) as error:
            said = self._said(str(error).encode())
            raise TryFailed("connection", said, True, reached=False) from error
        except TimeoutError as error:
            raise TryFailed("timeout", f"{seconds:g} s", True, charged=True) from error
        except (httpcore2.NetworkError, httpcore2.ProtocolError) as error:
            raise TryFailed("connection", type(error).__name__, True, charged=True) from error
        finally:
            self._idle.append(pool)
        if answer.status == 200:
            return content.replace(end.key.encode(), b"***") if end.key else content
        raise self._refusal(answer, content)

    def _asked(self, method: str, address: str, **request: Any) -> httpcore2.Request:
        """A request with its body encoded: bytes, JSON, or a form with files."""
        import httpcore2
        import httpx2

        given = httpx2.Request(method, address, headers=self._headers, **request)
        url = httpcore2.URL(
            scheme=given.url.raw_scheme,
            host=given.url.raw_host,
            port=given.url.port,
            target=given.url.raw_path,
        )
        return httpcore2.Request(method, url, headers=given.headers.raw, content=given.stream)

    def _refusal(self, answer: httpcore2.Response, content: bytes) -> TryFailed:
        status, said = answer.status, self._said(content)
        # No money left comes as a 429, too, and waiting does not mend it.
        poor = status == 429 and b"insufficient_quota" in content
        again = (status in AGAIN or status >= 500) and not poor
        after = retry_after(_header(answer, b"retry-after")) if again else None
        return TryFailed(f"http:{status}", said, again, after, poor or status in HOPELESS)

    def _said(self, content: bytes) -> str:
        """The beginning of a text for an error; our key, which a server may repeat, left out."""
        text = content.decode("utf-8", "replace")
        if self.endpoint.key:
            text = text.replace(self.endpoint.key, "***")
        return text[:200]


async def _bounded(answer: httpcore2.Response, largest: int) -> bytes:
    """The body as it was sent, refused above `largest`."""
    encoding = _header(answer, b"content-encoding") or "identity"
    if encoding != "identity":
        what = f"compressed ({encoding}), which was not asked for"
        raise TryFailed("garbage", what, True, charged=True)
    parts, size = [], 0
    async for part in answer.aiter_stream():
        size += len(part)
        if size > largest:
            raise TryFailed("garbage", f"more than {largest:,} bytes", True, charged=True)
        parts.append(part)
    return b"".join(parts)


def _header(answer: httpcore2.Response, name: bytes) -> str | None:
    found = (value for given, value in answer.headers if given.lower() == name)
    value = next(found, None)
    return None if value is None else value.decode("latin-1")


def _proxy(url: str) -> httpcore2.Proxy | None:
    """The proxy that the environment names for an address: HTTP_PROXY, ALL_PROXY, NO_PROXY, ...

    Raises:
        SetupError: it is one of SOCKS, and the package for that is missing.
    """
    import httpcore2

    wanted, given = urllib.parse.urlsplit(url), urllib.request.getproxies()
    address = given.get(wanted.scheme) or given.get("all")
    if not address or urllib.request.proxy_bypass(wanted.hostname or ""):
        return None
    parts = urllib.parse.urlsplit(address if "://" in address else f"http://{address}")
    if parts.scheme.startswith("socks") and importlib.util.find_spec("socksio") is None:
        raise SetupError(
            "the proxy speaks SOCKS, for which a package is missing",
            where=f"the proxy of {wanted.scheme} addresses in the environment",
            expected="an http:// proxy, or the package socksio",
            fix="pip install socksio",
        )
    auth = None
    if parts.username is not None:
        user, word = (urllib.parse.unquote(v or "") for v in (parts.username, parts.password))
        auth = (user, word)
    port = f":{parts.port}" if parts.port else ""
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return httpcore2.Proxy(f"{parts.scheme}://{host}{port}", auth=auth)


def retry_after(header: str | None) -> float | None:
    """Seconds a ``Retry-After`` header asks for: a number, or a date; None where it says nothing.

    More than ten minutes counts as ten.
    """
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, TypeError, OverflowError):
            return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER) if seconds == seconds else None
