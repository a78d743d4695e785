"""Where a language model is, and how much may be asked of it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from typing import Any

from zv_jax.errors import ConfigError

_KEY = re.compile(r"[\x21-\x7e]*")


@dataclass(frozen=True)
class Endpoint:
    """A server that speaks OpenAI's protocol.

    Attributes:
        url: base address, such as ``http://localhost:8000/v1``.
        model: its name there.
        key: sent as a bearer token; empty sends none.
        prefix: of the environment variables that name it, for errors.
        timeout: seconds for one whole try, so that a server which drips cannot hold it.
        tries: of one request, the first one counted. A 429 is none: it only costs time.
        concurrency: most requests in flight at once; a 429 halves what is used of it.
        per_minute: most requests begun in a minute; 0 means no limit.
        tokens_per_minute: most tokens, in and out, asked for in a minute; 0 means no limit.
        first_wait, longest_wait: seconds between tries; they double from the first to the longest.
        patience: seconds of nothing but 429 after which the run stops.
        give_up: how many requests may use up all their tries one after another, without one reply
            among them, before the run stops.
    """

    url: str
    model: str
    key: str = field(default="", repr=False)
    prefix: str = "ZV_LLM"
    timeout: float = 120.0
    tries: int = 6
    concurrency: int = 8
    per_minute: int = 0
    tokens_per_minute: int = 0
    first_wait: float = 1.0
    longest_wait: float = 60.0
    patience: float = 1800.0
    give_up: int = 100

    def __post_init__(self) -> None:
        if not self.url.startswith(("http://", "https://")) or re.search(r"[@?#\s]", self.url):
            raise ConfigError(
                f"no address of an endpoint: {_without_secrets(self.url)!r}",
                where=f"{self.prefix}_URL",
                expected="http://... or https://..., up to and with /v1, without a key in it",
                fix=f"export {self.prefix}_URL=http://localhost:8000/v1, and the key apart",
            )
        if not _KEY.fullmatch(self.key):
            raise ConfigError(
                "the key has blanks or characters that no header can hold",
                where=f"{self.prefix}_KEY",
                expected="the key as the server's owner gave it, without a line end",
            )

    @property
    def place(self) -> str:
        """Address and model, for errors."""
        return f"{self.url}, model {self.model!r}"


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
    return Endpoint(**values, prefix=prefix)


def _without_secrets(url: str) -> str:
    return re.sub(r"(?<=//)[^/@]*@", "***@", url.split("?")[0].split("#")[0])
