"""The vision warm-up: every patch says what it shows, in the language model's own embeddings."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array
Term = tuple[Array, Array]  # (sum, weight), both float32 scalars


def unexplained(predicted: Array, target: Array) -> Term:
    """Squared error as a share of the squared target: 0 is perfect, predicting zeros gives 1.

    Args:
        predicted, target: float [..., D].

    Returns:
        (sum of squared errors, sum of squares of the target).
    """
    predicted, target = predicted.astype(jnp.float32), target.astype(jnp.float32)
    return jnp.sum(jnp.square(predicted - target)), jnp.sum(jnp.square(target))
