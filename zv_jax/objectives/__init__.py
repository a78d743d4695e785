"""Losses as pure functions of arrays; each returns (sum, weight) so that parts merge by adding.

No model, mesh, stage or file is known here.
"""

from zv_jax.objectives.captioning import itg
from zv_jax.objectives.contrastive import itc, similarities
from zv_jax.objectives.language import lm_loss
from zv_jax.objectives.matching import itm, sample_negatives

__all__ = [
    "itc",
    "itg",
    "itm",
    "lm_loss",
    "sample_negatives",
    "similarities",
]
