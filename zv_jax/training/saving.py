"""When to save, and what to do when a save fails: train on, try again, give up at last."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import jax

from zv_jax.checkpoints.manager import Checkpointer
from zv_jax.errors import CheckpointError
from zv_jax.training.metrics import MetricLog

ATTEMPTS = 8  # to save, one after the other, before a run stops


class Saver:
    """Saves a run on schedule and writes each save that is complete into the events.

    A full disk or a storage service that is down for a while costs no training: the next attempt
    is made after 1, 2, 4, ... steps, and the last good checkpoint stays. In a run of several
    processes a failure behind their backs ends it instead, since they could not agree.
    """

    def __init__(
        self,
        checkpoints: Checkpointer,
        log: MetricLog,
        every: int,
        describe: Callable[[], Mapping[str, Any]],
    ):
        """`describe()` gives the meta of the moment."""
        self._checkpoints, self._log, self._every = checkpoints, log, every
        self._describe = describe
        self._failures = 0
        self._again = 0  # the step of the next attempt after a failure

    def is_due(self, step: int) -> bool:
        """Whether `step` will save."""
        return step == self._again or self._checkpoints.is_due(step)

    def step(
        self,
        step: int,
        state: Mapping[str, Any],
        frozen: Mapping[str, Any],
        metrics: Callable[[], Mapping[str, float]],
    ) -> None:
        """Call it after every step; `metrics()` fetches those of this step."""
        try:
            due = self.is_due(step)
            self._collect(wait=due)
            if due:
                self._checkpoints.save(
                    step, state, frozen, self._describe(), metrics=metrics(), force=True
                )
        except CheckpointError as error:
            self._failed(step, error)

    def last(
        self,
        step: int,
        state: Mapping[str, Any],
        frozen: Mapping[str, Any],
        metrics: Callable[[], Mapping[str, float]],
        *,
        pause: float = 2.0,
    ) -> None:
        """Saves `step` and waits for it; between attempts it sleeps `pause` seconds, then twice
        that, and so on.

        Raises:
            CheckpointError: it cannot be written.
        """
        while True:
            try:
                self._collect(wait=True)
                self._checkpoints.save(
                    step, state, frozen, self._describe(), metrics=metrics(), force=True
                )
                self._collect(wait=True)
                return
            except CheckpointError as error:
                self._failed(step, error)
                time.sleep(pause)
                pause *= 2

    def _collect(self, wait: bool = False) -> None:
        done = self._checkpoints.finished(wait)
        if done is not None:
            self._failures = self._again = 0
            self._log.event("save", checkpoint=done)

    def _failed(self, step: int, error: CheckpointError) -> None:
        self._failures += 1
        self._log.event("save_failed", attempt=self._failures, error=error.what)
        if self._failures >= ATTEMPTS or jax.process_count() > 1:
            raise error
        self._again = step + min(2 ** (self._failures - 1), self._every)
        self._log.say(
            f"{error}\n  attempt {self._failures} of {ATTEMPTS}, at step {step}; the last good "
            f"checkpoint is of step {self._checkpoints.latest_step()}"
        )
