"""Image-grounded text generation, ITG: the text half predicts the caption through the queries."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float32, Int

from zv_jax.arrays import Array
from zv_jax.objectives.language import Term, cross_entropy


def decoder_inputs(
    text_ids: Int[jax.Array, "B T"], dec_id: Int[Array, ""] | int
) -> Int[Array, "B T"]:
    """Captions with [DEC] in place of the first token ([CLS]), as BLIP-2 marks ITG."""
    return text_ids.at[:, 0].set(dec_id)


def itg(
    logits: Float32[Array, "B T V"],
    text_ids: Int[Array, "B T"],
    learned: Bool[Array, "B T"],
    label_smoothing: float = 0.1,
) -> Term:
    """Next-token loss of the caption.

    Args:
        logits: of the multimodal causal pass over `decoder_inputs`.
        text_ids: tokens 1.. (with the end token) are predicted.
        learned: False at padding, and at the end token of a truncated caption.
        label_smoothing: as in LAVIS.

    Returns:
        (sum over learned tokens, their number).
    """
    weights = learned[:, 1:].astype(jnp.float32)
    return cross_entropy(logits[:, :-1], text_ids[:, 1:], weights, label_smoothing)
