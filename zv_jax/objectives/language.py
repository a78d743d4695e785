"""Cross-entropy over a vocabulary, and the language-model loss on answers only."""

from __future__ import annotations

import jax
import jax.numpy as jnp

Array = jax.Array
Term = tuple[Array, Array]  # (sum, weight), both float32 scalars
IGNORED = -100  # label of a token that carries no loss


def cross_entropy(
    logits: Array, targets: Array, weights: Array, label_smoothing: float = 0.0
) -> Term:
    """Weighted sum of smoothed cross-entropy: (1 - e) * nll + e * mean over classes of -log p.

    Args:
        logits: float32 [..., V].
        targets: int [...], any value where the weight is 0.
        weights: float [...].
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


def next_token(labels: Array) -> tuple[Array, Array]:
    """Labels [B, T] aligned with the inputs -> next-token targets and weights [B, T - 1]."""
    targets = labels[:, 1:]
    return targets, (targets != IGNORED).astype(jnp.float32)


def labelled_positions(labels: Array, limit: int) -> tuple[Array, Array, Array]:
    """The positions whose next token carries loss, packed to the left.

    The output layer then runs on `limit` positions a row instead of all of them; with short
    answers that is most of its cost.

    Args:
        labels: int [B, T], `IGNORED` without loss.
        limit: labelled tokens of a row at most, no more than T; the data pipeline guarantees it.

    Returns:
        positions int [B, limit] to read hidden states at, targets and weights [B, limit].
    """
    # The last position has no next token; it stands for places that stay free.
    labels = jnp.pad(labels, ((0, 0), (0, 1)), constant_values=IGNORED)
    targets, weights = next_token(labels)
    order = jnp.argsort(weights == 0, axis=1, stable=True)[:, :limit]
    return (
        order,
        jnp.take_along_axis(targets, order, 1),
        jnp.take_along_axis(weights, order, 1),
    )


def lm_loss(logits: Array, labels: Array) -> Term:
    """Next-token cross-entropy over labelled tokens.

    Args:
        logits: float32 [B, T, V].
        labels: int [B, T] aligned with the inputs (not shifted), `IGNORED` without loss.

    Returns:
        (sum over labelled tokens, number of labelled tokens).
    """
    targets, weights = next_token(labels)
    return cross_entropy(logits[:, :-1], targets, weights)
