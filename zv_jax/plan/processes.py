"""Processes with jax in them, one at a time. This module never imports jax.

What a device holds, and some settings of jax, last as long as a process. And a compiler may end its
process, which then is one candidate less and not the end of the search.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Mapping
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
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
        runs_here: bool,
        environment: Mapping[str, str] | None = None,
        memory_fraction: float | None = None,
    ):
        """Nothing starts before the first call.

        Args:
            runs_here: whether programs are for the devices of this machine; they are compiled with
                the settings of a training then.
            environment: variables of the process, beside those of this one.
            memory_fraction: of a GPU, as `runtime.use_memory_fraction`.
        """
        self._given = runs_here, dict(environment or {}), memory_fraction
        self._pool: ProcessPoolExecutor | None = None
        self._pid = 0

    def __enter__(self) -> Process:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None and self._pool is not None:  # a compiler heeds no Ctrl-C for minutes
            with suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
        self.close()

    def call(self, function: Callable[..., Result], *arguments: Any) -> Result:
        """`function(*arguments)` in the process; what it raises is raised here.

        Raises:
            SetupError: the process ended before the answer.
        """
        if self._pool is None:
            spawn = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(1, spawn, _begin, self._given)
        try:
            self._pid = self._pool.submit(os.getpid).result()
            return self._pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            self.close()
            raise SetupError(
                "the process ended without an answer",
                where=function.__name__,
                expected="memory of this machine for it; the system ends a process that takes more",
                fix="end other programs, or use a machine with more memory",
            ) from error

    def close(self) -> None:
        """Ends the process; the next call starts another."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
            self._pool = None


def _begin(runs_here: bool, environment: Mapping[str, str], memory_fraction: float | None) -> None:
    """Before jax is imported: `call` sends nothing that names it earlier."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever called ends this process
    os.environ.update(environment)
    if memory_fraction is not None:
        runtime.use_memory_fraction(memory_fraction)
    if runs_here:
        runtime.prepare()
