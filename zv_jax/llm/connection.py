"""One try: a request sent, its answer read, and what went wrong told apart.

What a server can make us hold is bounded. The key is in no error, even where a server repeats it.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Any

from zv_jax.errors import SetupError
from zv_jax.llm.endpoint import Endpoint
from zv_jax.llm.reply import NoReply, parsed

if TYPE_CHECKING:
    import httpx2

AGAIN = frozenset((408, 409, 425, 429))
# Wrong for every request: key, money, address or model; so is an address that points elsewhere.
HOPELESS = frozenset((301, 302, 303, 307, 308, 401, 402, 403, 404, 405))
LONGEST_RETRY_AFTER = 600.0  # seconds
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
        import httpx2

        end = self.endpoint
        # Replies are read as they come: a compressed one could unfold to gigabytes.
        headers = {"Accept-Encoding": "identity"}
        if end.key:
            headers["Authorization"] = f"Bearer {end.key}"
        trusted = httpx2.create_ssl_context()
        # A client for each place: a pool looks at all its connections for every request.
        try:
            self._idle = [
                httpx2.AsyncClient(headers=headers, verify=trusted) for _ in range(end.concurrency)
            ]
        except ImportError:
            raise SetupError(
                "the proxy speaks SOCKS, for which a package is missing",
                where="a proxy in the environment: all_proxy, http_proxy or https_proxy",
                expected="an http:// proxy, or the package socksio",
                fix="pip install socksio",
            ) from None
        self._all = list(self._idle)
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*(client.aclose() for client in self._all))

    async def complete(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """The completion of a chat, as the server sent it.

        Raises:
            TryFailed: there is none.
        """
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
        headers = {"Content-Type": "application/json"}
        content = await self.send(
            "POST", "/chat/completions", LARGEST_REPLY, content=data, headers=headers
        )
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
            timeout: seconds; None takes the endpoint's. request: content, files, headers, ...

        Raises:
            TryFailed: there is none, or it is larger than `largest` bytes.
        """
        import httpx2

        end = self.endpoint
        seconds = end.timeout if timeout is None else timeout
        address = end.url.rstrip("/") + path
        client = self._idle.pop()
        try:
            # The time-outs of the HTTP client start anew with every byte.
            async with asyncio.timeout(seconds):
                async with client.stream(method, address, timeout=seconds, **request) as response:
                    content = await _bounded(response, largest)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout) as error:
            said = self._said(str(error).encode())
            raise TryFailed("connection", said, True, reached=False) from error
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise TryFailed("timeout", f"{seconds:g} s", True, charged=True) from error
        except httpx2.HTTPError as error:
            raise TryFailed("connection", type(error).__name__, True, charged=True) from error
        finally:
            self._idle.append(client)
        if response.status_code == 200:
            return content.replace(end.key.encode(), b"***") if end.key else content
        raise self._refusal(response, content)

    def _refusal(self, response: httpx2.Response, content: bytes) -> TryFailed:
        status, said = response.status_code, self._said(content)
        # No money left comes as a 429, too, and waiting does not mend it.
        poor = status == 429 and b"insufficient_quota" in content
        again = (status in AGAIN or status >= 500) and not poor
        after = retry_after(response.headers.get("retry-after")) if again else None
        return TryFailed(f"http:{status}", said, again, after, poor or status in HOPELESS)

    def _said(self, content: bytes) -> str:
        """The beginning of a text for an error; our key, which a server may repeat, left out."""
        text = content.decode("utf-8", "replace")
        if self.endpoint.key:
            text = text.replace(self.endpoint.key, "***")
        return text[:200]


async def _bounded(response: httpx2.Response, largest: int) -> bytes:
    """The body as it was sent, refused above `largest`."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        what = f"compressed ({encoding}), which was not asked for"
        raise TryFailed("garbage", what, True, charged=True)
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > largest:
            raise TryFailed("garbage", f"more than {largest:,} bytes", True, charged=True)
        parts.append(part)
    return b"".join(parts)


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
