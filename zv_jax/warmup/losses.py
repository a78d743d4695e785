"""The vision warm-up: every patch says what it shows, in the language model's own embeddings.

A symbol is the sum of the embeddings of a few words. Two errors measure how well it is said: the
squared distance to that sum, which keeps it readable, and the cross-entropy of its words against
all others, which learns much faster which word it is (as classification does, compared to
regression).
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from zv_jax.arrays import Array

Term = tuple[Array, Array]  # (sum, weight), both float32 scalars


def relative_squared_error(said: Array, symbols: Array) -> Term:
    """Squared error of each symbol as a share of its square: 0 is perfect, saying zeros gives 1.

    Args:
        said, symbols: float [..., N, D].

    Returns:
        (sum over symbols that are not zero, their number).
    """
    said, symbols = said.astype(jnp.float32), symbols.astype(jnp.float32)
    square = jnp.square(symbols).sum(-1)
    there = square > 0
    error = jnp.square(said - symbols).sum(-1) / jnp.where(there, square, 1)
    return jnp.sum(error * there), jnp.sum(there).astype(jnp.float32)


def multi_label_cross_entropy(logits: Array, words: Array) -> Term:
    """Cross-entropy against an even spread over the words of each symbol (Joulin et al. 2016,
    "Learning visual features from large weakly supervised data").

    Args:
        logits: float [..., N, V].
        words: int [..., N, K], -1 where a symbol has fewer than K words.

    Returns:
        (sum over symbols that have words, their number).
    """
    there = (words >= 0).astype(jnp.float32)
    count = there.sum(-1)
    logp = jax.nn.log_softmax(logits.astype(jnp.float32))
    picked = jnp.take_along_axis(logp, jnp.maximum(words, 0), -1)
    loss = -(picked * there).sum(-1) / jnp.maximum(count, 1)
    return jnp.sum(loss), jnp.sum(count > 0).astype(jnp.float32)
