"""Image-text matching, ITM, with hard negatives drawn from the contrastive similarity."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32, Int, Key

from zv_jax.arrays import Array
from zv_jax.objectives.language import Term, Weights, cross_entropy

# Entropy of one positive in three: the loss of a head that ignores its input.
PRIOR = 0.6365141682948128


def sample_negatives(
    key: Key[Array, ""],
    sims: Float[Array, "B B"],
    temperature: Float[Array, ""] | float,
    image_ids: Int[Array, " B"] | None = None,
    negatives: str = "hard",
    group: int = 0,
) -> tuple[Int[Array, " B"], Int[Array, " B"]]:
    """One negative image for every text and one negative text for every image.

    Args:
        key: random key.
        sims: similarities without temperature, images by texts; no gradient flows through them.
        temperature: negatives are drawn from softmax(sims / temperature), as in ALBEF and BLIP-2.
        image_ids: rows with equal ids are never negatives of each other.
        negatives: "hard", or "random" for a uniform draw.
        group: negatives come from the same group of this many consecutive rows; it divides B.
            0: one group.

    Returns:
        The image index for each text, the text index for each image.

    Raises:
        ValueError: the batch has one row, so there is no negative.
    """
    batch = sims.shape[0]
    if batch < 2:
        raise ValueError("ITM needs a global batch of at least 2 pairs, found 1")
    ids = jnp.arange(batch) if image_ids is None else image_ids
    same = ids[:, None] == ids[None]
    logits = jax.lax.stop_gradient(sims / temperature)
    if negatives == "random":
        logits = jnp.zeros_like(logits)
    place = jnp.arange(batch) // (group or batch)
    logits = jnp.where(same, -1e9, logits)
    logits = jnp.where(
        place[:, None] == place[None], logits, -2e9
    )  # never, even if nothing else is left
    for_text, for_image = jax.random.split(key)
    return (
        jax.random.categorical(for_text, logits.T, axis=1),
        jax.random.categorical(for_image, logits, axis=1),
    )


def itm(logits: Float32[Array, "B 2"], labels: Int[Array, " B"], weights: Weights) -> Term:
    """Binary cross-entropy of match or no match.

    Args:
        logits: the head's logits averaged over queries; class 1 = match.
        labels: 1 = match.
        weights: 0 drops a row (one for which the batch has no negative).

    Returns:
        (sum, weight).
    """
    return cross_entropy(logits, labels, weights)
