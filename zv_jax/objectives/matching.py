"""Image-text matching, ITM, with hard negatives drawn from the contrastive similarity."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from zv_jax.objectives.language import Array, Term, cross_entropy

PRIOR = (
    0.6365141682948128  # entropy of one positive in three: the loss of a head that looks at nothing
)


def sample_negatives(
    key: Array,
    sims: Array,
    temperature: Array,
    image_ids: Array | None = None,
    negatives: str = "hard",
    group: int = 0,
) -> tuple[Array, Array]:
    """One negative image for every text and one negative text for every image.

    Args:
        key: random key.
        sims: float32 [B, B] similarities without temperature, images by texts; no gradient flows.
        temperature: scalar; the draw is from softmax(sims / temperature), as ALBEF and BLIP-2 do.
        image_ids: int [B]; rows with the same id are never each other's negative.
        negatives: "hard", or "random" for a uniform draw.
        group: rows among which negatives are sought, consecutive ones; it divides B. 0: all.

    Returns:
        image index for each text int [B], text index for each image int [B].

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
    logits = jnp.where(place[:, None] == place[None], logits, -2e9)  # never, not even for want
    for_text, for_image = jax.random.split(key)
    return (
        jax.random.categorical(for_text, logits.T, axis=1),
        jax.random.categorical(for_image, logits, axis=1),
    )


def itm(logits: Array, labels: Array, weights: Array) -> Term:
    """Binary cross-entropy of match or not.

    Args:
        logits: float32 [N, 2], the mean over queries of the head's logits; class 1 = match.
        labels: int [N].
        weights: float [N], 0 drops a row (a batch that holds no negative for it).

    Returns:
        (sum, weight).
    """
    return cross_entropy(logits, labels, weights)
