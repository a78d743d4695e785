"""What is asked of a language model, and what comes back: a reply, or the reason for none."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

from zv_jax.errors import ConfigError, DataError


@dataclass(frozen=True)
class Request:
    """One question to a model, addressed by its content.

    Attributes:
        messages: OpenAI chat messages, ``{"role": ..., "content": ...}``, in order.
        parameters: the other fields of the request: ``model``, ``temperature``, ``max_tokens``,
            ``response_format``, ...
        images: sha256 of each image that the messages refer to. They keep the address apart where
            a message names an image (``file:`` or ``https:``) whose content may change.
        pack: hash of the prompt pack that the messages were made from; "" where there is none.

    Raises:
        ConfigError: there is no model, or more than one reply or a stream is wanted.
        DataError: the request cannot be written as JSON.
    """

    messages: Sequence[Mapping[str, Any]]
    parameters: Mapping[str, Any]
    images: tuple[str, ...] = ()
    pack: str = ""

    def __post_init__(self) -> None:
        given = self.parameters
        if not given.get("model") or given.get("n", 1) != 1 or given.get("stream"):
            raise ConfigError(
                "this request cannot be asked",
                where=f"parameters {dict(given)!r:.200}",
                expected="a model, one reply (no n) and no stream",
            )

    @property
    def body(self) -> dict[str, Any]:
        """The request as it is sent."""
        return {"messages": list(self.messages), **self.parameters}

    @cached_property
    def key(self) -> str:
        """sha256 (hex) of model, messages, parameters, image sums and prompt pack.

        Equal requests have one key, whatever the order of their fields; the key names the reply in
        the ledger and the request in a batch file.
        """
        extra = {"images": list(self.images), "pack": self.pack}
        addressed = self.body | {f"zv_{name}": value for name, value in extra.items() if value}
        return hashlib.sha256(_canonical(addressed)).hexdigest()


def _canonical(value: Mapping[str, Any]) -> bytes:
    try:
        return json.dumps(
            value, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False
        ).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise DataError(
            f"a request that JSON cannot hold: {error}",
            where=f"{value!r:.200}",
            expected="text, numbers, lists and objects; no NaN, no half of a surrogate pair",
        ) from error


@dataclass(frozen=True)
class Reply:
    """What a model answered.

    Attributes:
        text: its message; of a refusal, the words of it, which may be none.
        usage: tokens as the server counts them: ``prompt_tokens``, ``completion_tokens``, ...
        finish_reason: why it stopped: ``stop``, ``length``, ``content_filter``, ...
        raw: the server's whole answer.
        cached: whether it comes from the ledger: nothing was sent, nothing paid.
    """

    text: str
    usage: Mapping[str, Any]
    finish_reason: str | None
    raw: Mapping[str, Any]
    cached: bool = False

    @property
    def model(self) -> str:
        """The server's name for the model that answered."""
        return str(self.raw.get("model", ""))

    @property
    def refused(self) -> bool:
        """Whether the model, or a filter before it, declined to answer."""
        message = self.raw["choices"][0]["message"]
        return self.finish_reason == "content_filter" or bool(message.get("refusal"))


@dataclass(frozen=True)
class Failure:
    """Why a request has no reply. It is never kept: the next run asks again.

    Attributes:
        reason: ``timeout``, ``connection``, ``garbage`` or ``http:<status>``.
        detail: the beginning of what the server said.
    """

    reason: str
    detail: str = ""


class Asks(Protocol):
    """Whatever answers requests as `zv_jax.llm.client.Client` does."""

    def ask_all(
        self, requests: Iterable[tuple[str, Request]]
    ) -> Iterator[tuple[str, Reply | Failure]]:
        """Yields an outcome for each (id, request), in the order of the input.

        `requests` is read a bounded number of rows ahead, so that memory does not grow with it.
        Requests of one key are sent once.

        Raises:
            ZvError: no further request can succeed, or may be sent: wrong key or address, a budget
                that is used up, a full disk. What was answered is in the ledger: run again.
        """
        ...
