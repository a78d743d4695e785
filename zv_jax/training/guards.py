"""Updates that would do harm are left out, inside the compiled step.

A loss or gradient that is not finite skips the update, always. With `guards.spike_sigma` so does
one that lies further above the last `spike_window` steps than that many standard deviations, as in
PaLM's and MaxText's loss-spike handling; the window takes spikes in as well, so that a plateau
that has come to stay is soon accepted. A skipped update changes neither parameters nor optimiser,
whose schedule waits; the data go on.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from zv_jax.config import GuardConfig

FINE, NOT_FINITE, SPIKE = 0, 1, 2
REASONS = {NOT_FINITE: "not finite", SPIKE: "spike"}

Guards = dict[str, jax.Array]


def init_guards(cfg: GuardConfig) -> Guards:
    """The state before the first step: float32 [spike_window] of each value, int32 counters."""
    window = jnp.zeros(cfg.spike_window, jnp.float32)
    zero = jnp.zeros((), jnp.int32)
    # Arrays of their own: the step gives its buffers away, each only once.
    return {"loss": window, "grad_norm": window + 0, "seen": zero, "skipped": zero + 0}


def judge(
    cfg: GuardConfig, guards: Guards, loss: jax.Array, grad_norm: jax.Array
) -> tuple[jax.Array, Guards]:
    """FINE, NOT_FINITE or SPIKE (int32 scalar) for one step, and the state after it."""
    values = {"loss": loss.astype(jnp.float32), "grad_norm": grad_norm.astype(jnp.float32)}
    finite = jnp.isfinite(values["loss"]) & jnp.isfinite(values["grad_norm"])
    spike = jnp.zeros((), bool)
    if cfg.spike_sigma > 0:
        full = guards["seen"] >= cfg.spike_window
        for name, value in values.items():
            usual, spread = guards[name].mean(), guards[name].std()
            spike |= full & (value > usual + cfg.spike_sigma * spread)
    verdict = jnp.where(finite, jnp.where(spike, SPIKE, FINE), NOT_FINITE).astype(jnp.int32)
    place = guards["seen"] % cfg.spike_window
    after = {
        name: guards[name].at[place].set(jnp.where(finite, value, guards[name][place]))
        for name, value in values.items()
    }
    after["seen"] = guards["seen"] + finite
    after["skipped"] = guards["skipped"] + (verdict != FINE)
    return verdict, after


def unless_skipped(verdict: jax.Array, new: Any, old: Any) -> Any:
    """`new`, leaf by leaf, or `old` where the verdict is not FINE."""
    return jax.tree.map(lambda a, b: jnp.where(verdict == FINE, a, b), new, old)


def tower_norms(gradients: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Euclidean norm of the gradient of each tower, adapters apart, float32 scalars by name."""
    squares: dict[str, jax.Array] = {}
    for path, leaf in gradients.items():
        collection, tower = path.split("/")[:2]
        name = tower if collection == "params" else f"{tower} ({collection})"
        square = jnp.sum(jnp.square(leaf.astype(jnp.float32)))
        squares[name] = squares.get(name, 0.0) + square
    return {name: jnp.sqrt(square) for name, square in squares.items()}
