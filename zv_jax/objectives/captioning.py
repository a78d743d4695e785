"""Image-grounded text generation, ITG: the text half predicts the caption through the queries."""

from __future__ import annotations

import jax.numpy as jnp

from zv_jax.objectives.language import Array, Term, cross_entropy


def decoder_inputs(text_ids: Array, dec_id: int) -> Array:
    """Captions int [B, T] with the first token ([CLS]) replaced by [DEC], as BLIP-2 marks ITG."""
    return text_ids.at[:, 0].set(dec_id)


def itg(logits: Array, text_ids: Array, learned: Array, label_smoothing: float = 0.1) -> Term:
    """Next-token loss of the caption.

    Args:
        logits: float32 [B, T, V] of the multimodal causal pass over `decoder_inputs`.
        text_ids: int [B, T]; tokens 1.. (the end token included) are predicted.
        learned: bool [B, T], False at padding, and at the end token of a caption that was cut.
        label_smoothing: as in LAVIS.

    Returns:
        (sum over learned tokens, their number).
    """
    weights = learned[:, 1:].astype(jnp.float32)
    return cross_entropy(logits[:, :-1], text_ids[:, 1:], weights, label_smoothing)
