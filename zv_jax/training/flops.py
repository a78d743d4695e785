"""FLOPs of a training step: each tower of the stage, forward and backward.

Model FLOPs are those of the mathematics, whatever the program computes: forward once; backward to
the inputs where a gradient passes through (as much again; twice that for attention scores, which
have two inputs); backward to the weights only where they train. So a frozen language model that a
gradient passes through costs 4 N per token, not 6 N. Causal attention counts half of its scores.
Padding counts: shapes are static.
"""

from __future__ import annotations

from zv_jax.config.schema import Config
from zv_jax.stages import stage_of
from zv_jax.training.losses.kind import loss_of
from zv_jax.training.towers import Tower

FORMULA = (
    "model FLOPs = linear x (1 forward + 1 where a gradient passes + 1 where weights train) + "
    "attention x (1 + 2 where a gradient passes), causal half, padding included"
)


def towers(config: Config) -> list[Tower]:
    """Every tower of the stage, for one row of the batch."""
    return loss_of(stage_of(config)).towers(config)


def model_flops(config: Config) -> float:
    """Model FLOPs of one row of the batch; see the top of this file."""
    return sum(tower.model for tower in towers(config))


def hardware_flops(config: Config) -> float:
    """FLOPs that the program executes for one row: all attention scores, and recomputation."""
    uncausal = sum(t.attention * t.kind[1] for t in towers(config) if t.name == "llm")
    return sum(t.model + t.recomputed for t in towers(config)) + uncausal
