"""Skips harmful updates, inside the compiled step.

A loss or gradient that is not finite always skips the update. With `guards.spike_sigma`, so does
one that exceeds the mean of the last `spike_window` steps by more than that many standard
deviations, as in PaLM's and MaxText's loss-spike handling. The window includes spikes, so a lasting
plateau is soon accepted. A skipped update changes neither parameters nor optimiser, and the
schedule waits; the data advance.

Each kind of batch has its own windows: sources with rows of another size fill separate batches, and
a rare kind with a higher loss would always be a spike among the others.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from zv_jax.config.schema import GuardConfig

FINE, NOT_FINITE, SPIKE, NOTHING_TO_LEARN = range(4)
REASONS = {NOT_FINITE: "not finite", SPIKE: "spike", NOTHING_TO_LEARN: "nothing to learn"}

Guards = dict[str, jax.Array]


def init_guards(cfg: GuardConfig, kinds: int = 1) -> Guards:
    """The state before the first step: a window of each value, and counters.

    float32 [kinds, spike_window] and int32 [kinds]; without the first axis if all batches are of
    one kind.
    """
    shape = () if kinds == 1 else (kinds,)
    window = jnp.zeros((*shape, cfg.spike_window), jnp.float32)
    # Separate arrays: the step donates its buffers, and each can be donated only once.
    return {
        "loss": window,
        "grad_norm": window + 0,
        "seen": jnp.zeros(shape, jnp.int32),
        "skipped": jnp.zeros((), jnp.int32),
    }


def check_update(
    cfg: GuardConfig,
    guards: Guards,
    loss: jax.Array,
    grad_norm: jax.Array,
    weight: jax.Array,
    kind: jax.Array | int = 0,
) -> tuple[jax.Array, Guards]:
    """The status of one update (an int32 scalar, see above), and the state after it.

    `weight` is the smallest number of tokens or rows that a term of the loss averages over. If it
    is 0, the loss is 0 too, which would go unnoticed. `kind` is the number of the batch's kind.
    """
    values = {"loss": loss.astype(jnp.float32), "grad_norm": grad_norm.astype(jnp.float32)}
    finite = jnp.isfinite(values["loss"]) & jnp.isfinite(values["grad_norm"])
    own = (kind,) if guards["seen"].ndim else ()
    seen = guards["seen"][own]
    spike = jnp.zeros((), bool)
    if cfg.spike_sigma > 0:
        full = seen >= cfg.spike_window
        for name, value in values.items():
            usual, spread = guards[name][own].mean(), guards[name][own].std()
            spike |= full & (value > usual + cfg.spike_sigma * spread)
    update_status = jnp.where(finite, jnp.where(spike, SPIKE, FINE), NOT_FINITE)
    update_status = jnp.where(weight > 0, update_status, NOTHING_TO_LEARN).astype(jnp.int32)
    place = (*own, seen % cfg.spike_window)
    after = {
        name: guards[name].at[place].set(jnp.where(finite, value, guards[name][place]))
        for name, value in values.items()
    }
    after["seen"] = guards["seen"].at[own].add(finite)
    after["skipped"] = guards["skipped"] + (update_status != FINE)
    return update_status, after


def carried_over(held: Guards, fresh: Guards, same_data: bool) -> Guards:
    """The guards of a checkpoint, for a run whose `fresh` ones may have other shapes.

    With other data or another length, windows start empty: kinds have only numbers, so kinds of
    other data cannot be matched. The number of skipped updates is kept: the schedule depends on it.
    """
    if same_data and all(held[name].shape == leaf.shape for name, leaf in fresh.items()):
        return held
    return {**fresh, "skipped": held["skipped"]}


def unless_skipped(update_status: jax.Array, new: Any, old: Any) -> Any:
    """`new` if `update_status` is FINE, else `old`, leaf by leaf."""
    return jax.tree.map(lambda a, b: jnp.where(update_status == FINE, a, b), new, old)


def tower_norms(gradients: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Gradient norm of each tower, adapters separately: float32 scalars by name."""
    squares: dict[str, jax.Array] = {}
    for path, leaf in gradients.items():
        collection, tower = path.split("/")[:2]
        name = tower if collection == "params" else f"{tower} ({collection})"
        square = jnp.sum(jnp.square(leaf.astype(jnp.float32)))
        squares[name] = squares.get(name, 0.0) + square
    return {name: jnp.sqrt(square) for name, square in squares.items()}
