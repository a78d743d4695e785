"""What training knows of a kind of batch; and the look-up."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import jax
import numpy as np

from zv_jax.config.schema import Config
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.stages import Stage
from zv_jax.training.towers import Tower

Array = jax.Array
Batch = dict[str, Array]
# Each term is (sum, weight); those that a stage does not name in its losses are only reported.
LossTerms = dict[str, tuple[Array, Array]]


def _nothing(batch: Mapping[str, np.ndarray], config: Config) -> None:
    """Any batch is right."""


@dataclass(frozen=True)
class Loss:
    """A kind of batch, as training sees it.

    Attributes:
        terms: (bound model, batch, key, config) -> terms, for `apply`; tracing it also tells which
            parameters a stage has.
        towers: what a step computes, for one row of the batch.
        model: the class that `terms` is given.
        compares_rows: whether rows are compared with each other; such a loss splits the batch into
            microbatches itself.
        check: (batch on the host, config); raises DataError for a row that cannot be right.
        qformer_passes: rows of the Q-Former whose activations a row of the batch keeps.
        facts: numbers that `zv plan` reports of this kind beside its operations, by name.
    """

    terms: Callable[[ZiyaVisual, Batch, Array, Config], LossTerms]
    towers: Callable[[Config], list[Tower]]
    model: type[ZiyaVisual] = ZiyaVisual
    compares_rows: bool = False
    check: Callable[[Mapping[str, np.ndarray], Config], None] = _nothing
    qformer_passes: int = 1
    facts: Callable[[Config], dict[str, float]] = lambda config: {}


LOSSES: dict[str, Loss] = {}
"""Every kind of batch by the name that `stages.Stage.batch` gives it."""


def register(name: str, loss: Loss) -> None:
    """Lets stages that are fed with batches of the kind `name` train."""
    LOSSES[name] = loss


def loss_of(stage: Stage) -> Loss:
    """What a stage learns from."""
    return LOSSES[stage.batch]
