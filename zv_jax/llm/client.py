"""A language model behind somebody's chat endpoint: any server that speaks OpenAI's protocol.

`ChatClient.complete` sends one request and gives it every chance: what may go better later
(time-outs, broken connections, 408, 409, 429, 5xx, replies that are no completion) is tried again
after exponential waits, or after as long as the server asks for; what will not (400, 401, ...)
fails at once. Requests in flight and requests per minute are bounded, and so is what a server can
make us hold. The key stands in no error, no log and no repr, not even where a server repeats it.
"""

from __future__ import annotations

import asyncio
import email.utils
import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any

from zv_jax.errors import ConfigError

if TYPE_CHECKING:
    import httpx2

AGAIN = frozenset((408, 409, 425, 429))
HOPELESS = frozenset((401, 403, 404))  # wrong for every request: key, address or model
LONGEST_RETRY_AFTER = 600.0  # seconds
LARGEST_REPLY = 1 << 20  # bytes: a completion of 100,000 tokens has half as many


@dataclass(frozen=True)
class Endpoint:
    """Where to ask, and how much.

    Attributes:
        url: base address, such as ``http://localhost:8000/v1``.
        model: its name there.
        key: sent as a bearer token; empty sends none.
        timeout: seconds for one whole try, so that a server which drips cannot hold it.
        tries: of one request, the first one counted.
        concurrency: requests in flight at once.
        per_minute: most requests begun in a minute; 0 means no limit.
        first_wait, longest_wait: seconds between tries; they double from the first to the longest.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    timeout: float = 120.0
    tries: int = 6
    concurrency: int = 8
    per_minute: int = 0
    first_wait: float = 1.0
    longest_wait: float = 60.0


def endpoint_of(prefix: str, **given: Any) -> Endpoint:
    """An endpoint by what is given, else by ``PREFIX_URL``, ``PREFIX_MODEL``, ``PREFIX_KEY``.

    Raises:
        ConfigError: the address or the model is missing, or the address is none.
    """
    values = {name: value for name, value in given.items() if value not in (None, "")}
    for name in ("url", "model", "key"):
        values.setdefault(name, os.environ.get(f"{prefix}_{name.upper()}", ""))
        if not values[name] and name != "key":
            raise ConfigError(
                f"the {name} of the endpoint is not known",
                where=f"{prefix}_{name.upper()}",
                expected="http://localhost:8000/v1" if name == "url" else "a name of the server",
                fix=f"export {prefix}_{name.upper()}=...",
            )
    if not values["url"].startswith(("http://", "https://")):
        raise ConfigError(
            f"no address of an endpoint: {values['url']!r}",
            where=f"{prefix}_URL",
            expected="http://... or https://..., up to and with /v1",
        )
    return Endpoint(**values)


@dataclass(frozen=True)
class Reply:
    """What a model said: its text, why it stopped, the server's name for it, tokens used."""

    text: str
    finish: str | None
    model: str
    usage: Mapping[str, int]


class RequestFailed(Exception):
    """A request that got no completion.

    Attributes:
        reason: ``timeout``, ``connection``, ``garbage`` or ``http:<status>``.
        hopeless: whether every other request will fail in the same way.
    """

    def __init__(self, reason: str, detail: str = "", hopeless: bool = False):
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.hopeless = reason, hopeless


class _Later(Exception):
    """A try that failed and may succeed later."""

    def __init__(self, failed: RequestFailed, after: float | None = None):
        super().__init__(str(failed))
        self.failed, self.after = failed, after


class ChatClient:
    """Sends chat completions to an endpoint; use it as ``async with ChatClient(endpoint)``."""

    def __init__(self, endpoint: Endpoint):
        self.endpoint = endpoint
        self.tries = 0  # requests sent, repetitions included

    async def __aenter__(self) -> ChatClient:
        import aiolimiter
        import httpx2

        end = self.endpoint
        # Replies are read as they come: a compressed one could unfold to gigabytes.
        headers = {"Accept-Encoding": "identity"}
        if end.key:
            headers["Authorization"] = f"Bearer {end.key}"
        self._http = httpx2.AsyncClient(
            headers=headers,
            timeout=end.timeout,
            limits=httpx2.Limits(max_connections=end.concurrency),
        )
        self._places = asyncio.Semaphore(end.concurrency)
        # A minute's worth at once would be a burst: one at a time, evenly.
        self._rate = aiolimiter.AsyncLimiter(1, 60 / end.per_minute) if end.per_minute else None
        self._resume = 0.0  # loop time before which the server wants no request
        return self

    async def __aexit__(
        self, kind: type | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def complete(self, messages: Sequence[Mapping[str, Any]], **settings: Any) -> Reply:
        """The reply to a conversation.

        Args:
            messages: ``{"role": ..., "content": ...}``, in order.
            settings: other fields of the request, such as ``temperature`` and ``max_tokens``.

        Raises:
            RequestFailed: no completion after all tries.
        """
        import tenacity

        end = self.endpoint
        grow = tenacity.wait_exponential_jitter(
            end.first_wait, end.longest_wait, jitter=end.first_wait
        )

        def wait(state: tenacity.RetryCallState) -> float:
            later = state.outcome.exception()
            return later.after if later.after is not None else grow(state)

        body = {"model": end.model, "messages": list(messages), **settings}
        retrying = tenacity.AsyncRetrying(
            retry=tenacity.retry_if_exception_type(_Later),
            stop=tenacity.stop_after_attempt(end.tries),
            wait=wait,
            reraise=True,
        )
        try:
            async with self._places:
                return await retrying(self._try, body)
        except _Later as later:
            raise later.failed from None

    async def _try(self, body: Mapping[str, Any]) -> Reply:
        import httpx2

        loop = asyncio.get_running_loop()
        await asyncio.sleep(max(0.0, self._resume - loop.time()))
        if self._rate is not None:
            await self._rate.acquire()
        self.tries += 1
        address = self.endpoint.url.rstrip("/") + "/chat/completions"
        try:
            # The time-outs of the HTTP client start anew with every byte.
            async with asyncio.timeout(self.endpoint.timeout):
                async with self._http.stream("POST", address, json=body) as response:
                    content = await _bounded(response)
        except (TimeoutError, httpx2.TimeoutException) as error:
            raise _Later(RequestFailed("timeout", f"{self.endpoint.timeout:g} s")) from error
        except httpx2.HTTPError as error:
            raise _Later(RequestFailed("connection", type(error).__name__)) from error
        status = response.status_code
        if status in AGAIN or status >= 500:
            after = retry_after(response.headers.get("retry-after"))
            if after is not None:
                self._resume = max(self._resume, loop.time() + after)
            raise _Later(RequestFailed(f"http:{status}", self._said(content)), after)
        if status != 200:
            raise RequestFailed(f"http:{status}", self._said(content), status in HOPELESS)
        try:
            return _read(content)
        except (ValueError, KeyError, IndexError, TypeError, RecursionError) as error:
            raise _Later(RequestFailed("garbage", self._said(content[:80]))) from error

    def _said(self, content: bytes) -> str:
        """The beginning of a reply, for an error; our key, which a server may repeat, left out."""
        text = content.decode("utf-8", "replace")
        if self.endpoint.key:
            text = text.replace(self.endpoint.key, "***")
        return text[:200]


async def _bounded(response: httpx2.Response) -> bytes:
    """The body as it was sent, refused above `LARGEST_REPLY`."""
    encoding = response.headers.get("content-encoding", "identity")
    if encoding != "identity":
        raise _Later(RequestFailed("garbage", f"compressed ({encoding}), which was not asked for"))
    parts, size = [], 0
    async for part in response.aiter_raw():
        size += len(part)
        if size > LARGEST_REPLY:
            raise _Later(RequestFailed("garbage", f"more than {LARGEST_REPLY:,} bytes"))
        parts.append(part)
    return b"".join(parts)


def _read(content: bytes) -> Reply:
    data = json.loads(content)
    choice = data["choices"][0]
    text = choice["message"]["content"]
    if not isinstance(text, str) or not text.strip():
        raise ValueError("no text")
    text.encode()  # a lone surrogate is a ValueError: it could not be written down
    usage = data.get("usage") if isinstance(data.get("usage"), dict) else {}
    finish = choice.get("finish_reason")
    return Reply(text, finish, str(data.get("model", "")), usage)


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
        except (ValueError, TypeError):
            return None
    return min(max(0.0, seconds), LONGEST_RETRY_AFTER) if seconds == seconds else None
