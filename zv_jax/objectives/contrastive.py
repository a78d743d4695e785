"""Image-text contrastive learning, ITC (BLIP-2; paper section 3.3)."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from zv_jax.objectives.language import Array, Term

TEMPERATURE_RANGE = (0.01, 0.5)  # LAVIS leaves it free; ALBEF clamps it, and so do we


def similarities(image_queries: Array, texts: Array) -> Array:
    """Similarity of every image with every text: the best of the image's queries.

    Args:
        image_queries: normalised [B, Q, E].
        texts: normalised [C, E].

    Returns:
        float32 [B, C].
    """
    scores = jnp.einsum("BQE,CE->BCQ", image_queries, texts, preferred_element_type=jnp.float32)
    return scores.max(-1)


def clamp_temperature(temperature: Array) -> Array:
    """The temperature as used: within `TEMPERATURE_RANGE`.

    Its gradient is that of the loss at the nearest temperature of the range, also where the clamp
    is at work; that of `clip` is 0 there, and half of it on the bounds.
    """
    stop = jax.lax.stop_gradient
    return stop(jnp.clip(temperature, *TEMPERATURE_RANGE)) + (temperature - stop(temperature))


def itc(
    image_queries: Array,
    texts: Array,
    temperature: Array,
    image_ids: Array | None = None,
    label_smoothing: float = 0.1,
    gather_grad: bool = True,
) -> tuple[Term, Array]:
    """Symmetric contrastive loss over the (global) batch.

    Args:
        image_queries: normalised query projections [B, Q, E].
        texts: normalised text projections [B, E]; text i belongs to image i.
        temperature: learnable scalar that divides the similarities.
        image_ids: int [B]; rows with equal ids are each other's positives too, and share the
            target mass (1 - label_smoothing) evenly. None: every row is its own image.
        label_smoothing: mass spread over all candidates.
        gather_grad: False lets each direction reach only its own anchor side, as LAVIS does on
            several GPUs (its gathered features carry no gradient).

    Returns:
        (sum over rows of the mean of both directions, number of rows), and the similarities
        float32 [B, B] without temperature, images by texts.
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
