"""Settings of a server."""

from __future__ import annotations

from dataclasses import dataclass

from zv_jax.errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """How a model is served.

    Attributes:
        name: of the model, as requests give it.
        max_new_tokens: most tokens of one answer.
        requests: most requests at once; the next one is refused with status 429.
        timeout: seconds for a request to arrive, and again for its answer.
        remote_images: whether images are fetched from http(s) addresses.
        key: what requests must present as a bearer token; "" asks for none.
        follows: whether new weights may come while it answers.
        max_body: bytes of a request.

    Raises:
        ConfigError: a number is out of range, or the key is no plain text.
    """

    name: str
    max_new_tokens: int = 256
    requests: int = 40
    timeout: float = 120.0
    remote_images: bool = False
    key: str = ""
    follows: bool = False
    max_body: int = 32 << 20

    def __post_init__(self) -> None:
        if self.requests < 1 or self.timeout <= 0 or self.max_body < 1:
            raise ConfigError(
                f"{self.requests} requests at once, {self.timeout} seconds, {self.max_body} bytes",
                where="--slots, --queue, --timeout",
                expected="numbers above 0",
                fix="leave them out",
            )
        if not (self.key.isascii() and self.key.isprintable() and " " not in self.key):
            raise ConfigError(
                "the API key has characters that no HTTP header can carry",
                where="--api_key_env",
                expected="printable ASCII without blanks",
                fix="export another key",
            )
