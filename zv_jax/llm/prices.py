"""What requests cost: tokens, prices, an estimate before the first call, and a budget.

A budget is kept by reservation: before a request is sent, the most that it can cost is put aside;
when its reply is there, what it did cost takes that place.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from zv_jax.errors import ConfigError
from zv_jax.llm.request import Request

_HAN = re.compile("[\u4e00-\u9fff]")
_PER_MESSAGE = 16  # tokens a template adds around one message, at most
_PER_IMAGE = 2048  # tokens of an image: a guess, since every server has its own rule


class BudgetReached(ConfigError):
    """The next request could cost more than is left."""


@dataclass(frozen=True)
class Prices:
    """Dollars for a million tokens.

    Attributes:
        tokens_in: of prompts.
        tokens_out: of completions.
        cached: of the part of a prompt that the server had kept; as `tokens_in` where it is None.
    """

    tokens_in: float
    tokens_out: float
    cached: float | None = None

    def of(self, usage: Mapping[str, Any], share: float = 1.0) -> float:
        """Dollars for what a server counted; `share` is what a batch pays of the price."""
        tokens = counted(usage)
        cached = self.tokens_in if self.cached is None else self.cached
        full = (tokens.given - tokens.cached) * self.tokens_in
        return round(
            share * (full + tokens.cached * cached + tokens.made * self.tokens_out) / 1e6, 12
        )

    def most(self, request: Request, share: float = 1.0) -> float:
        """The most that `request` can cost.

        Raises:
            ConfigError: it names no ``max_tokens``, so that there is no such amount.
        """
        limit = max_tokens(request)
        if limit is None:
            raise ConfigError(
                "a budget needs to know how long a reply may be",
                where="parameters of a request",
                expected="max_tokens or max_completion_tokens",
            )
        return round(share * (bound(request) * self.tokens_in + limit * self.tokens_out) / 1e6, 12)


MOST_TOKENS = 2**40
"""No prompt and no reply has as many."""


@dataclass(frozen=True)
class Tokens:
    """Tokens of prompts, of completions, and of prompts that the server had kept."""

    given: int = 0
    made: int = 0
    cached: int = 0


def counted(usage: Any) -> Tokens:
    """The tokens of a server's ``usage``; what it does not name, or no reply can have, is 0."""
    if not isinstance(usage, Mapping):
        return Tokens()

    def number(value: Any) -> int:
        return value if type(value) is int and 0 < value < MOST_TOKENS else 0

    details = usage.get("prompt_tokens_details")
    cached = number(details.get("cached_tokens")) if isinstance(details, dict) else 0
    given, made = number(usage.get("prompt_tokens")), number(usage.get("completion_tokens"))
    return Tokens(given, made, min(cached, given))


def max_tokens(request: Request) -> int | None:
    """The longest reply that a request allows, in tokens."""
    given = request.parameters
    return given.get("max_completion_tokens", given.get("max_tokens"))


def about(text: str) -> int:
    """About how many tokens a text is: a Chinese character is one, four other characters are."""
    han = 0 if text.isascii() else len(_HAN.findall(text))
    return han + (len(text) - han + 3) // 4


def expected(request: Request) -> int:
    """About how many tokens the prompt of a request is."""
    return sum(about(text) for text in _texts(request)) + _PER_IMAGE * _images(request)


def bound(request: Request) -> int:
    """The most tokens that its prompt can be: with bytes as the last resort, none is shorter."""
    schema = request.parameters.get("response_format") or request.parameters.get("tools") or ""
    texts = [*_texts(request), json.dumps(schema, ensure_ascii=False)]
    size = sum(len(text.encode()) for text in texts)
    return size + _PER_MESSAGE * len(request.messages) + _PER_IMAGE * _images(request)


def _parts(request: Request) -> Iterable[Any]:
    for message in request.messages:
        content = message.get("content") or ""
        yield from [content] if isinstance(content, str) else content


def _texts(request: Request) -> Iterable[str]:
    for part in _parts(request):
        yield part if isinstance(part, str) else str(part.get("text") or "")


def _images(request: Request) -> int:
    return sum(isinstance(part, dict) and "image_url" in part for part in _parts(request))


@dataclass(frozen=True)
class Estimate:
    """What requests will cost: their number, tokens in (about) and out (at most), and dollars."""

    requests: int
    tokens_in: int
    tokens_out: int
    dollars: float | None

    def __str__(self) -> str:
        text = (
            f"{self.requests} requests, about {self.tokens_in:,} tokens in and at most "
            f"{self.tokens_out:,} out"
        )
        return text if self.dollars is None else f"{text}: at most ${self.dollars:.2f}"


def estimate(requests: Iterable[Request], prices: Prices | None = None) -> Estimate:
    """What requests will cost, each of them once; reads them one by one."""
    number = said = out = 0
    for request in requests:
        number += 1
        said += expected(request)
        out += max_tokens(request) or 0
    dollars = None
    if prices is not None:
        dollars = (said * prices.tokens_in + out * prices.tokens_out) / 1e6
    return Estimate(number, said, out, dollars)


class Budget:
    """Money of one run, used within one event loop.

    Attributes:
        limit: dollars in all, what the ledger has spent before included; None means no limit.
        prices: of the model; None counts no money.
        spent: so far. reserved: for requests in flight.
    """

    def __init__(self, limit: float | None = None, prices: Prices | None = None):
        if limit is not None and prices is None:
            raise ConfigError(
                "a budget needs prices",
                where=f"budget of ${limit:g}",
                expected="dollars for a million tokens in and out, such as 2.5,10",
            )
        self.limit, self.prices = limit, prices
        self.spent = self.reserved = 0.0
        self._open = 0
        self._settled = asyncio.Event()

    def price(self, usage: Mapping[str, Any], share: float = 1.0) -> float:
        """Dollars for `usage`; 0 without prices."""
        return 0.0 if self.prices is None else self.prices.of(usage, share)

    def most(self, request: Request, share: float = 1.0) -> float:
        """The most that `request` can cost; 0 without prices."""
        if self.prices is None or (self.limit is None and max_tokens(request) is None):
            return 0.0
        return self.prices.most(request, share)

    async def reserve(self, most: float) -> None:
        """Puts `most` dollars aside; waits for requests in flight where that would be too much.

        Raises:
            BudgetReached: it is too much even with nothing in flight.
        """
        while not self.fits(most):
            if not self._open:
                raise self.reached(most)
            self._settled.clear()
            await self._settled.wait()
        self.put_aside(most)

    def fits(self, most: float) -> bool:
        """Whether `most` dollars are left."""
        return self.limit is None or self.spent + self.reserved + most <= self.limit + 1e-12

    def put_aside(self, most: float) -> None:
        """Reserves `most` dollars, whether they fit or not."""
        self._open += 1
        self.reserved += most

    def settle(self, most: float, paid: float) -> None:
        """Puts what was `paid` in place of a reservation."""
        self._open -= 1
        self.reserved = self.reserved - most if self._open else 0.0
        self.spent += paid
        self._settled.set()

    def reached(self, most: float) -> BudgetReached:
        """The error for a request that does not fit."""
        return BudgetReached(
            f"the budget is used up: ${self.spent:.6f} of ${self.limit:g}, and the next request "
            f"may cost ${most:.6f}",
            where=f"budget of ${self.limit:g}",
            expected="room for one more request",
            fix="run again with a larger budget: what was answered is kept and not paid again",
        )
