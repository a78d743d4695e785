"""The loss of the language model after visual tokens, for dialogues and for texts."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Float, Float32, Int

from zv_jax.arrays import Array
from zv_jax.config.schema import Config
from zv_jax.models.llama import Llama
from zv_jax.models.pieces import one_by_one
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.objectives.language import cross_entropy, labelled_positions
from zv_jax.stages import labelled_tokens
from zv_jax.training.losses.kind import Batch, LossTerms


def next_token_terms(
    model: ZiyaVisual, visual: Float[Array, "B IQ D"], batch: Batch, config: Config
) -> LossTerms:
    """Cross-entropy and accuracy of the labelled tokens of rows with visual tokens.

    Args:
        visual: in the order of the placeholders.
        batch: with `input_ids`, `attention_mask` and `labels`, [B, T] each, padded on the right.
    """
    ids, real = batch["input_ids"], batch["attention_mask"]
    hidden = model.hidden(visual, ids, real, right_padded=True)
    limit = labelled_tokens(config, batch["labels"].shape[1])
    where, targets, weights = labelled_positions(batch["labels"], limit)
    chosen = jnp.take_along_axis(hidden, where[..., None], 1)
    return _token_terms(model.llm, chosen, targets, weights, config.train.loss_chunks)


def _token_terms(
    llm: Llama,
    hidden: Float[Array, "B N D"],
    targets: Int[Array, "B N"],
    weights: Float32[Array, "B N"],
    chunks: int,
) -> LossTerms:
    """Cross-entropy and accuracy of hidden states, in `chunks` along N.

    Only the logits of one chunk exist at a time, in the backward pass too: those of 256 tokens over
    a vocabulary of 39,424 would take 40 MB a row in float32, and their gradient as much again.
    """

    def terms(llm: Llama, part: tuple[Array, Array, Array]) -> LossTerms:
        hidden, targets, weights = part
        logits = llm.logits(hidden)
        right = ((logits.argmax(-1) == targets) * weights).sum()
        return {
            "lm": cross_entropy(logits, targets, weights),
            "token_accuracy": (right, weights.sum()),
        }

    def split(x: Array) -> Array:
        return x.reshape(x.shape[0], chunks, -1, *x.shape[2:]).swapaxes(0, 1)

    given = hidden, targets, weights
    if chunks == 1:
        return terms(llm, given)
    found = one_by_one(terms, llm, jax.tree.map(split, given))
    return jax.tree.map(lambda x: x.sum(0), found)
