"""Follows the guards from outside: reports skipped updates and ends a run that makes no others."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zv_jax.errors import TrainingError
from zv_jax.training.files import write_json
from zv_jax.training.guards import FINE, REASONS
from zv_jax.training.metrics import MetricLog


class Patrol:
    """Looks at the verdict of each step when the next one is already under way.

    So the device never waits for the host, and a run stops at most one step late.
    """

    def __init__(
        self, workdir: Path, log: MetricLog, limit: int, names: Callable[[np.ndarray], list[str]]
    ):
        """`limit` skipped updates in a row end the run; `names(index)` tells a batch's samples."""
        self._workdir, self._log, self._limit, self._names = workdir, log, limit, names
        self._last: tuple[int, dict[str, jax.Array], np.ndarray] | None = None
        self._skipped: list[dict[str, Any]] = []  # the latest ones, without a good one between

    def step(self, step: int, metrics: dict[str, jax.Array], index: np.ndarray) -> None:
        """Step `step` (counted from 0) was dispatched, over the samples `index`.

        Raises:
            TrainingError: the step before was the last straw.
        """
        before, self._last = self._last, (step, metrics, index)
        if before is not None:
            self._look(*before)

    def finish(self) -> None:
        """Looks at the last step too. Raises as `step`."""
        before, self._last = self._last, None
        if before is not None:
            self._look(*before)

    def _look(self, step: int, metrics: dict[str, jax.Array], index: np.ndarray) -> None:
        verdict = int(metrics["verdict"])
        if verdict == FINE:
            self._skipped.clear()
            return
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        del values["verdict"]
        found = {"at": step, "reason": REASONS[verdict], **values, "samples": self._names(index)}
        self._skipped.append(found)
        self._log.event("skipped", **found)
        terms = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._log.say(f"the update of step {step} is skipped ({found['reason']}): {terms}")
        if len(self._skipped) >= self._limit:
            self._stop(step)

    def _stop(self, step: int) -> None:
        process = jax.process_index()
        path = self._workdir / ("stopped.json" if process == 0 else f"stopped-{process}.json")
        write_json(path, self._skipped)
        last = self._skipped[-1]
        raise TrainingError(
            f"{len(self._skipped)} updates in a row were skipped, the last one because its loss or "
            "gradient " + ("is not finite" if last["reason"] == "not finite" else "is a spike"),
            where=f"steps {self._skipped[0]['at']} to {step}; their samples, losses and gradient "
            f"norms by tower are in {path}",
            expected=f"fewer than {self._limit} in a row (guards.max_skipped)",
            fix="look at those samples; lower optimizer.lr or raise optimizer.warmup_steps. "
            "The last checkpoint is from before",
        )
