"""Follows the guards from outside: reports skipped updates and ends a run that makes no others."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax

from zv_jax.errors import TrainingError
from zv_jax.files import write_json
from zv_jax.training.guards import FINE, NOTHING_TO_LEARN, REASONS
from zv_jax.training.metrics import MetricLog

Names = Callable[[], list[str]]


class Patrol:
    """Looks at the verdict of each step when the next one is already under way.

    So the device never waits for the host, and a run stops at most one step late.
    """

    def __init__(self, workdir: Path, log: MetricLog, limit: int, kinds: Sequence[str]):
        """`limit` skipped updates in a row end the run, also in a row of one kind of batch.

        `kinds` names the sources of each kind.
        """
        self._workdir, self._log, self._limit, self._kinds = workdir, log, limit, kinds
        self._last: tuple[int, dict[str, jax.Array], int, Names] | None = None
        # The latest ones, without a good one between: of all batches, and of each kind.
        self._skipped: list[dict[str, Any]] = []
        self._skipped_of: list[list[dict[str, Any]]] = [[] for _ in kinds]

    def step(self, step: int, metrics: dict[str, jax.Array], kind: int, names: Names) -> None:
        """Step `step` (counted from 0) was dispatched; `names()` tells the samples of its batch.

        Raises:
            TrainingError: the step before was the last straw, or had nothing to learn.
        """
        before, self._last = self._last, (step, metrics, kind, names)
        if before is not None:
            self._look(*before)

    def finish(self) -> None:
        """Looks at the last step too. Raises as `step`."""
        before, self._last = self._last, None
        if before is not None:
            self._look(*before)

    def _look(self, step: int, metrics: dict[str, jax.Array], kind: int, names: Names) -> None:
        verdict = int(metrics["verdict"])
        if verdict == FINE:
            self._skipped.clear()
            self._skipped_of[kind].clear()
            return
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        del values["verdict"]
        found = {"at": step, "reason": REASONS[verdict], **values, "samples": names()}
        self._skipped.append(found)
        self._skipped_of[kind].append(found)
        self._log.event("skipped", **found)
        terms = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._log.say(f"the update of step {step} is skipped ({found['reason']}): {terms}")
        if verdict == NOTHING_TO_LEARN:
            raise TrainingError(
                "no token or row of this batch carries a loss",
                where=f"step {step}, samples {', '.join(found['samples'])}",
                expected="at least one in every term of the loss",
                fix="look at these records, and at data.max_length and data.max_answer",
            )
        if len(self._skipped) >= self._limit:
            self._stop(self._skipped, "")
        if len(self._skipped_of[kind]) >= self._limit:
            self._stop(self._skipped_of[kind], self._kinds[kind])

    def _stop(self, skipped: list[dict[str, Any]], sources: str) -> None:
        """Ends the run over `skipped`, all of the batches of `sources` where these are named."""
        process = jax.process_index()
        path = self._workdir / ("stopped.json" if process == 0 else f"stopped-{process}.json")
        write_json(path, skipped)
        first, last = skipped[0], skipped[-1]
        of = f" of batches from {sources}" if sources else ""
        fix = "lower optimizer.lr or raise optimizer.warmup_steps. "
        if sources:
            fix = "the rest of the mixture learns, these sources do not: mend their records, or "
            fix += "take them out of data.sources. "
        raise TrainingError(
            f"{len(skipped)} updates in a row{of} were skipped, the last one because its loss or "
            "gradient " + ("is not finite" if last["reason"] == "not finite" else "is a spike"),
            where=f"steps {first['at']} to {last['at']}; their samples, losses and gradient "
            f"norms by tower are in {path}",
            expected=f"fewer than {self._limit} in a row (guards.max_skipped)",
            fix=f"look at those samples; {fix}The last checkpoint is from before",
        )
