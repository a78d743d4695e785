"""From what a server sent to a `Reply`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from zv_jax.llm.request import Reply


class NoReply(ValueError):
    """A completion that holds nothing; `usage` is what the server counted for it, if it did."""

    def __init__(self, what: str, usage: Mapping[str, Any] | None = None):
        super().__init__(what)
        self.usage = usage


def parsed(content: bytes) -> dict[str, Any]:
    """The completion in the body of an answer.

    Raises:
        NoReply: it is none, or an empty one that is neither refused nor cut off.
    """
    try:
        raw = json.loads(content)
        # Half a surrogate pair, or NaN: it could not be written down.
        json.dumps(raw, ensure_ascii=False, allow_nan=False).encode()
    except (ValueError, RecursionError) as error:
        raise NoReply(f"no JSON: {type(error).__name__}") from error
    usage = raw.get("usage") if isinstance(raw, dict) else None
    usage = usage if isinstance(usage, dict) else None
    try:
        reply = reply_of(raw)
    except (KeyError, IndexError, TypeError, AttributeError, ValueError) as error:
        raise NoReply("no completion", usage) from error
    if not reply.text.strip() and not reply.refused and reply.finish_reason != "length":
        raise NoReply("an empty completion", usage)
    return raw


def reply_of(raw: Mapping[str, Any], cached: bool = False) -> Reply:
    """The reply in a completion; KeyError and the like where it is none."""
    choice = raw["choices"][0]
    message = choice["message"]
    text = message.get("content") or message.get("refusal") or ""
    if not isinstance(text, str):
        raise ValueError("its content is no text")
    usage = raw.get("usage")
    finish = choice.get("finish_reason")
    return Reply(text, usage if isinstance(usage, dict) else {}, finish, raw, cached)
