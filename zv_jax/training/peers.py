"""The protocol of a run's monitors, called after every step in the order of the trainer's list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jax
import numpy as np

from zv_jax.training.state import FlatParams
from zv_jax.training.step import TrainState


@dataclass(frozen=True)
class StepInfo:
    """The outcome of a step.

    The device may still be computing it; reading a value of `metrics` waits.

    Attributes:
        step: steps done, this one included.
        state, frozen: all leaves after the step; the next step donates the buffers of the state.
        metrics: scalars by name.
        batch: the rows of this process.
        names: returns the ids of their records.
        kind: the number of the batch's kind; the guards have a window for each kind.
        waited: seconds that the step waited for its batch.
    """

    step: int
    state: TrainState
    frozen: FlatParams
    metrics: Mapping[str, jax.Array]
    batch: Mapping[str, np.ndarray] = field(default_factory=dict)
    names: Callable[[], list[str]] = list
    kind: int = 0
    waited: float = 0.0


class Peer:
    """A monitor, logger or saver that follows a run."""

    def on_step(self, info: StepInfo) -> None:
        """Called after every step. An exception ends the run."""

    def on_end(self) -> None:
        """Called after the last step, but not on preemption or failure. May raise, too."""
