"""Who watches a run: one protocol, called after every step in the order of the trainer's list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import jax
import numpy as np

from zv_jax.training.state import FlatParams
from zv_jax.training.step import TrainState


@dataclass(frozen=True)
class StepInfo:
    """What a step leaves behind.

    The device may still be computing it: whoever looks at a value of `metrics` waits for it.

    Attributes:
        step: steps done, this one included.
        state, frozen: all leaves after it; the next step takes the buffers of the state.
        metrics: scalars by name.
        batch: the rows of this process.
        names: ids of their records.
        kind: number of the batch's kind, by which the guards judge it.
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
    """Something that goes along with a run."""

    def on_step(self, info: StepInfo) -> None:
        """After every step. What it raises ends the run."""

    def on_end(self) -> None:
        """After the last step; not where a run is told to end, or fails. May raise, too."""
