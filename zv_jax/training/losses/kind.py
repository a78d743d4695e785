"""What training knows about each kind of batch, by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from zv_jax.arrays import Array
from zv_jax.config.schema import Config
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.stages import Stage
from zv_jax.training.towers import Tower

Batch = dict[str, Array]
# Each term is (sum, weight); terms that a stage does not list in its losses are only reported.
LossTerms = dict[str, tuple[Float[Array, ""], Float[Array, ""]]]


def _nothing(batch: Mapping[str, np.ndarray], config: Config) -> None:
    """Accepts any batch."""


@dataclass(frozen=True)
class Loss:
    """A kind of batch, as training sees it.

    Attributes:
        terms: (bound model, batch, key, config) -> terms, for `apply`; tracing it also shows which
            parameters a stage has.
        towers: what a step computes for one row of the batch.
        model: the class of the model that `terms` takes.
        compares_rows: whether the loss compares rows with each other; such a loss splits the batch
            into microbatches itself.
        check: (batch on the host, config); raises DataError for an invalid row.
        qformer_passes: rows of the Q-Former whose activations a row of the batch keeps in memory.
        facts: numbers that `zv plan` reports for this kind beside its FLOPs, by name.
    """

    terms: Callable[[ZiyaVisual, Batch, Array, Config], LossTerms]
    towers: Callable[[Config], list[Tower]]
    model: type[ZiyaVisual] = ZiyaVisual
    compares_rows: bool = False
    check: Callable[[Mapping[str, np.ndarray], Config], None] = _nothing
    qformer_passes: int = 1
    facts: Callable[[Config], dict[str, float]] = lambda config: {}


LOSSES: dict[str, Loss] = {}
"""Every kind of batch, by the name in `stages.Stage.batch`."""


def register(name: str, loss: Loss) -> None:
    """Adds the loss of batches of the kind `name`."""
    LOSSES[name] = loss


def loss_of(stage: Stage) -> Loss:
    """The loss of a stage's batches."""
    return LOSSES[stage.batch]
