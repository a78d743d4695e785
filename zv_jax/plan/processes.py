"""Processes with jax in them, one at a time. This module never imports jax.

What a device holds, and some settings of jax, last as long as a process. And a compiler may end its
process, which then is one candidate less and not the end of the search.
"""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from zv_jax.errors import SetupError
from zv_jax.parallel import runtime

Result = TypeVar("Result")


class Process:
    """A process that answers calls; where it ends on its own, the next call starts another.

    Use it in a `with` block: at its end the process is over, and its device free.
    """

    def __init__(
        self,
        prepare: Callable[[], None],
        environment: Mapping[str, str] | None = None,
        memory_fraction: float | None = None,
    ):
        """Nothing starts before the first call.

        Args:
            prepare: called in the process before jax is imported; importable by name.
            environment: variables of the process, beside those of this one.
            memory_fraction: of a GPU, as `runtime.use_memory_fraction`.
        """
        self._given = prepare, dict(environment or {}), memory_fraction
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_: object) -> None:
        self._close()

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """`function(*arguments)` in the process; what it raises is raised here.

        Raises:
            SetupError: the process ended before the answer.
        """
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, spawn, _begin, self._given)
        try:
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            self._close()
            raise SetupError(
                "the process ended without an answer",
                where=function.__name__,
                expected="memory of this machine for it; the system ends a process that takes more",
                fix="end other programs, or use a machine with more memory",
            ) from error

    def _close(self) -> None:
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _begin(
    prepare: Callable[[], None], environment: Mapping[str, str], memory_fraction: float | None
) -> None:
    os.environ.update(environment)
    if memory_fraction is not None:
        runtime.use_memory_fraction(memory_fraction)
    prepare()
