"""Cross-entropy over a vocabulary, and the language-model loss on answers only."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32, Int

from zv_jax.arrays import Array

Term = tuple[Float32[Array, ""], Float32[Array, ""]]  # (sum, weight)
Weights = Float[Array, "*B"] | Bool[Array, "*B"]
IGNORED = -100  # label of a token that carries no loss


def cross_entropy(
    logits: Float[Array, "*B V"],
    targets: Int[Array, "*B"],
    weights: Weights,
    label_smoothing: float = 0.0,
) -> Term:
    """Weighted sum of smoothed cross-entropy: (1 - e) * nll + e * mean over classes of -log p.

    Args:
        logits: computed on in float32.
        targets: any value where the weight is 0.
        weights: of each target.
        label_smoothing: e, as `torch.nn.functional.cross_entropy` defines it.

    Returns:
        (sum of losses, sum of weights).
    """
    logits = logits.astype(jnp.float32)
    normaliser = jax.nn.logsumexp(logits, -1)
    safe = jnp.where(weights > 0, targets, 0)
    # A one-hot product, not a gather: its gradient is no scatter.
    picked = jnp.sum(jax.nn.one_hot(safe, logits.shape[-1]) * logits, -1)
    loss = normaliser - (1 - label_smoothing) * picked
    if label_smoothing:
        loss = loss - label_smoothing * logits.mean(-1)
    weights = weights.astype(jnp.float32)
    return jnp.sum(loss * weights), jnp.sum(weights)


def next_token(
    labels: Int[Array, "B T"],
) -> tuple[Int[Array, "B T-1"], Float32[Array, "B T-1"]]:
    """Next-token targets and their weights for labels aligned with the inputs."""
    targets = labels[:, 1:]
    return targets, (targets != IGNORED).astype(jnp.float32)


def labelled_positions(
    labels: Int[Array, "B T"], limit: int
) -> tuple[Int[Array, "B {limit}"], Int[Array, "B {limit}"], Float32[Array, "B {limit}"]]:
    """The positions whose next token carries loss, packed to the left.

    The output layer then runs on `limit` positions a row instead of all of them, which saves most
    of its cost when answers are short.

    Args:
        labels: `IGNORED` without loss.
        limit: most labelled tokens in a row, at most T; the data pipeline guarantees it.

    Returns:
        Positions to read hidden states at, targets and weights.
    """
    # The last position has no next token; it fills unused places.
    labels = jnp.pad(labels, ((0, 0), (0, 1)), constant_values=IGNORED)
    targets, weights = next_token(labels)
    order = jnp.argsort(weights == 0, axis=1, stable=True)[:, :limit]
    return (
        order,
        jnp.take_along_axis(targets, order, 1),
        jnp.take_along_axis(weights, order, 1),
    )


def lm_loss(logits: Float32[Array, "B T V"], labels: Int[Array, "B T"]) -> Term:
    """Next-token cross-entropy over labelled tokens.

    Args:
        logits: of the next token at each position.
        labels: aligned with the inputs (not shifted), `IGNORED` without loss.

    Returns:
        (sum over labelled tokens, number of labelled tokens).
    """
    targets, weights = next_token(labels)
    return cross_entropy(logits[:, :-1], targets, weights)
