"""Image-text contrastive learning, ITC (BLIP-2; paper section 3.3)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32, Int

from zv_jax.arrays import Array
from zv_jax.objectives.language import Term

TEMPERATURE_RANGE = (0.01, 0.5)  # LAVIS leaves it free; ALBEF clamps it, and so do we


def similarities(
    image_queries: Float[Array, "B Q E"], texts: Float[Array, "C E"]
) -> Float32[Array, "B C"]:
    """Similarity of every image with every text: the maximum over the image's queries.

    Args:
        image_queries: normalised.
        texts: normalised.
    """
    scores = jnp.einsum("BQE,CE->BCQ", image_queries, texts, preferred_element_type=jnp.float32)
    return scores.max(-1)


def clamp_temperature(temperature: Float[Array, ""] | float) -> Float[Array, ""]:
    """The temperature clamped to `TEMPERATURE_RANGE`.

    Outside the range its gradient is that of the loss at the nearest bound; the gradient of `clip`
    would be 0 there, and half of that on the bounds.
    """
    stop = jax.lax.stop_gradient
    return stop(jnp.clip(temperature, *TEMPERATURE_RANGE)) + (temperature - stop(temperature))


def itc(
    image_queries: Float[Array, "B Q E"],
    texts: Float[Array, "B E"],
    temperature: Float[Array, ""] | float,
    image_ids: Int[Array, " B"] | None = None,
    label_smoothing: float = 0.1,
    gather_grad: bool = True,
) -> tuple[Term, Float32[Array, "B B"]]:
    """Symmetric contrastive loss over the (global) batch.

    Args:
        image_queries: normalised query projections.
        texts: normalised text projections; text i belongs to image i.
        temperature: learnable; divides the similarities.
        image_ids: rows with equal ids are positives of each other too, and share the target mass
            (1 - label_smoothing) evenly. None: every row has its own image.
        label_smoothing: mass spread over all candidates.
        gather_grad: False sends the gradient of each direction to its anchor side only, as LAVIS
            does on several GPUs (its gathered features carry no gradient).

    Returns:
        (sum over rows of the mean of both directions, number of rows), and the similarities
        without temperature, images by texts.
    """
    batch = texts.shape[0]
    tau = clamp_temperature(temperature)
    if gather_grad:
        to_text = to_image = similarities(image_queries, texts)
    else:
        to_text = similarities(image_queries, jax.lax.stop_gradient(texts))
        to_image = similarities(jax.lax.stop_gradient(image_queries), texts)
    ids = jnp.arange(batch) if image_ids is None else image_ids
    same = (ids[:, None] == ids[None]).astype(jnp.float32)
    targets = (1 - label_smoothing) * same / same.sum(1, keepdims=True) + label_smoothing / batch
    loss_text = -jnp.sum(targets * jax.nn.log_softmax(to_text / tau, 1), 1)
    loss_image = -jnp.sum(targets * jax.nn.log_softmax(to_image.T / tau, 1), 1)
    loss = 0.5 * (loss_text + loss_image).sum()
    return (loss, jnp.float32(batch)), to_text
