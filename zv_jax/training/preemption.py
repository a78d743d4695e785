"""The machine is about to be taken away: every process saves the same step, then stops.

A scheduler sends SIGTERM to one process or to all. In a run of several, JAX's coordination service
makes it a step that all of them reach (`jax.experimental.multihost_utils`); a run of one process
has no such service and listens itself.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from types import FrameType

import jax


class Preemption:
    """Listens for SIGTERM inside a `with` block."""

    def __init__(self, agreed: Callable[[int], bool]):
        """`agreed(step)`: whether a run of several processes stops after `step` steps."""
        self._agreed = agreed
        self._told = False
        self._before: Callable | int | None = None

    def __enter__(self) -> Preemption:
        # Python hands signals to the main thread only; elsewhere the caller handles them.
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._tell)
        return self

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def reached(self, step: int) -> bool:
        """Whether to save and stop now that `step` steps are done; all processes ask each step."""
        return self._told if jax.process_count() == 1 else self._agreed(step)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self._told = True
