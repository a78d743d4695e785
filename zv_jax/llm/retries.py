"""When a failed try is made again, and how long that waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from zv_jax.llm.connection import TryFailed
from zv_jax.llm.endpoint import Endpoint

if TYPE_CHECKING:
    import tenacity

_BELIEVED = 3  # how often a server that always says "at once" is taken at its word


def retrying(endpoint: Endpoint, enough: Callable[[TryFailed], bool]) -> tenacity.AsyncRetrying:
    """Repeats a coroutine function that raises `TryFailed`, until `enough` says so.

    Waits double from the endpoint's first to its longest, or are what the server asks for.
    """
    import tenacity

    grow = tenacity.wait_exponential_jitter(
        endpoint.first_wait, endpoint.longest_wait, jitter=endpoint.first_wait
    )

    def wait(state: tenacity.RetryCallState) -> float:
        after = state.outcome.exception().after
        if after is not None and state.attempt_number <= _BELIEVED:
            return after
        return max(after or 0.0, grow(state))

    return tenacity.AsyncRetrying(
        retry=tenacity.retry_if_exception(lambda e: isinstance(e, TryFailed) and e.again),
        stop=lambda state: enough(state.outcome.exception()),
        wait=wait,
        reraise=True,
    )
