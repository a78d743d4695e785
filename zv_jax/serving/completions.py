"""Events as the bodies of chat completions, and as the chunks of a stream.

Dictionaries, which tests hold against the types of the package `openai`.
"""

from __future__ import annotations

import secrets
import time
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.serving.jobs import Ended, Piece
from zv_jax.serving.requests import ChatRequest
from zv_jax.serving.spelling import spelled

Events = AsyncGenerator[tuple[int, Piece | Ended] | None]


class Completion:
    """The reply to one request."""

    def __init__(self, body: ChatRequest, tokenizer: Tokenizer):
        self.body, self.tokenizer = body, tokenizer
        self.n = body.n or 1
        self._id, self._created = f"chatcmpl-{secrets.token_hex(12)}", int(time.time())
        self._tokens = self._prompt = 0
        self._weights: str | None = None

    def _of(self, kind: str, choices: list[dict[str, Any]]) -> dict[str, Any]:
        return {
            "id": self._id,
            "object": kind,
            "created": self._created,
            "model": self.body.model,
            "choices": choices,
            "system_fingerprint": self._weights,
        }

    def _name_weights(self, event: Piece | Ended) -> None:
        """Whoever compares answers can see which weights gave them."""
        if isinstance(event, Piece) and event.step is not None:
            self._weights = f"step_{event.step}"

    def _count(self, event: Ended) -> None:
        self._tokens += event.tokens
        self._prompt = event.prompt_tokens  # one prompt, however many answers

    def _usage(self) -> dict[str, int]:
        return {
            "prompt_tokens": self._prompt,
            "completion_tokens": self._tokens,
            "total_tokens": self._prompt + self._tokens,
        }

    def _logprobs(self, entries: list[dict[str, Any]]) -> dict[str, Any] | None:
        return {"content": entries, "refusal": None} if self.body.logprobs else None

    async def whole(self, events: Events) -> dict[str, Any]:
        """The body, once all answers have ended."""
        texts: defaultdict[int, list[str]] = defaultdict(list)
        entries: defaultdict[int, list[dict[str, Any]]] = defaultdict(list)
        reasons: dict[int, str] = {}
        async with aclosing(events):
            async for number, event in _heard(events):
                self._name_weights(event)
                if isinstance(event, Ended):
                    reasons[number] = event.reason
                    self._count(event)
                else:
                    texts[number].append(event.text)
                    entries[number] += spelled(event, self.tokenizer)
        choices = [
            {
                "index": i,
                "message": {"role": "assistant", "content": "".join(texts[i]), "refusal": None},
                "logprobs": self._logprobs(entries[i]),
                "finish_reason": reasons[i],
            }
            for i in sorted(reasons)
        ]
        return self._of("chat.completion", choices) | {"usage": self._usage()}

    async def chunks(self, events: Events) -> AsyncGenerator[dict[str, Any] | None]:
        """The chunks, each as soon as its text is final; None to keep the connection alive."""
        counts = bool(self.body.stream_options and self.body.stream_options.include_usage)
        extra = {"usage": None} if counts else {}
        begun: set[int] = set()
        async with aclosing(events):
            async for heard in events:
                if heard:
                    self._name_weights(heard[1])
                if heard and heard[0] not in begun:
                    begun.add(heard[0])
                    yield self._chunk(heard[0], {"role": "assistant", "content": ""}) | extra
                chunk = heard and self._next(*heard)
                if chunk or not heard:
                    yield chunk and chunk | extra
        if counts:
            yield self._of("chat.completion.chunk", []) | {"usage": self._usage()}

    def _next(self, number: int, event: Piece | Ended) -> dict[str, Any] | None:
        """The chunk of an event, if there is something to tell."""
        if isinstance(event, Ended):
            self._count(event)
            return self._chunk(number, {}, reason=event.reason)
        entries = list(spelled(event, self.tokenizer))
        if not event.text and not entries:
            return None
        return self._chunk(number, {"content": event.text}, self._logprobs(entries))

    def _chunk(
        self,
        number: int,
        delta: dict[str, Any],
        logprobs: dict[str, Any] | None = None,
        reason: str | None = None,
    ) -> dict[str, Any]:
        choice = {"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
        return self._of("chat.completion.chunk", [choice])


async def _heard(events: Events) -> AsyncGenerator[tuple[int, Piece | Ended]]:
    """The events without the silences."""
    async for heard in events:
        if heard is not None:
            yield heard
