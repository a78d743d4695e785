"""Beam search, with or without a tree of allowed answers.

The scores are those of Hugging Face transformers: the sum of the log-probabilities of a sequence,
`</s>` counted, divided by its length to the power of `length_penalty`. With `length_penalty=0`, a
tree and at least as many beams as answers, the best beam is the most probable answer: the same that
ranking all of them by their sums finds.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from zv_jax.inference.program import token_by_token
from zv_jax.inference.sample import read_prompt
from zv_jax.inference.trie import ROOT
from zv_jax.models.layers import Array
from zv_jax.models.presets import ModelConfig

DEAD = -1e9  # score of a beam that is not there: finite, so that no sum is NaN
_STATIC = ("cfg", "max_new_tokens", "min_new_tokens", "num_beams", "length_penalty")
Edges = tuple[Array, Array, Array]


@token_by_token(static_argnames=_STATIC)
def beam_search(
    variables: dict,
    images: Array | None,
    input_ids: Array,
    attention_mask: Array,
    qformer_input_ids: Array | None,
    qformer_attention_mask: Array | None,
    edges: Edges | None = None,
    *,
    cfg: ModelConfig,
    max_new_tokens: int,
    num_beams: int,
    eos_id: Array | int,
    pad_id: Array | int,
    min_new_tokens: int = 0,
    length_penalty: float = 1.0,
) -> tuple[Array, Array]:
    """The best continuation of every row.

    Args:
        variables, images, input_ids, attention_mask, qformer_input_ids, qformer_attention_mask:
            as in `decode.generate`.
        edges: `parent`, `token` and `child` of a `trie.Trie`; None allows every token.
        cfg: the architecture.
        max_new_tokens: at least 1; what is longer ends there, without `</s>`.
        num_beams: beams of each row, and finished sequences kept of each.
        eos_id, pad_id: as in `decode.generate`.
        min_new_tokens: tokens before `</s>` is allowed.
        length_penalty: above 0 prefers long answers, below 0 short ones.

    Returns:
        int32 [B, max_new_tokens], and the scores, float32 [B].
    """
    model, logits, cache, seen, lengths = read_prompt(
        variables,
        images,
        input_ids,
        attention_mask,
        qformer_input_ids,
        qformer_attention_mask,
        cfg=cfg,
        room=max_new_tokens - 1,
    )
    batch, start, beams = len(input_ids), input_ids.shape[1], num_beams
    size = seen.shape[1]
    repeat = lambda x, axis=0: jnp.repeat(x, beams, axis)
    cache = jax.tree.map(lambda x: repeat(x, 1), cache)
    seen, lengths = repeat(seen), repeat(lengths)
    first = jnp.arange(beams) == 0

    def candidates(step: Array, scores: Array, nodes: Array, logits: Array) -> tuple:
        """The best 2 * beams continuations: their scores, beams, tokens and tree nodes."""
        logp = jax.nn.log_softmax(logits.astype(jnp.float32).reshape(batch, beams, -1))
        # The placeholder stands for an image in a prompt and never for a word.
        logp = logp.at[..., cfg.image_token_id].set(DEAD)
        early = (step < min_new_tokens) & (jnp.arange(logp.shape[-1]) == eos_id)
        logp = jnp.where(early, DEAD, logp)
        if edges is None:
            token, child = jnp.arange(logp.shape[-1]), None
            total = scores[..., None] + logp
        else:
            parent, token, child = edges
            possible = parent == nodes[..., None]
            total = jnp.where(possible, scores[..., None] + logp[..., token], DEAD)
        width = total.shape[-1]
        best, at = jax.lax.top_k(total.reshape(batch, -1), min(2 * beams, beams * width))
        missing = 2 * beams - best.shape[1]
        best = jnp.pad(best, ((0, 0), (0, missing)), constant_values=DEAD)
        at = jnp.pad(at, ((0, 0), (0, missing)))
        to = jnp.zeros_like(at) if child is None else child[at % width]
        return best, at // width, token[at % width], to

    def advance(state: tuple) -> tuple:
        step, scores, nodes, tokens, done, kept, kept_tokens, logits, cache = state
        best, beam, token, node = candidates(step, scores, nodes, logits)
        grown = jnp.take_along_axis(tokens, beam[..., None], 1).at[:, :, step].set(token)
        alive = best > DEAD / 2
        ended = alive & ((token == eos_id) | (step + 1 == max_new_tokens))
        # Only what ends among the first `beams` is kept, so that a bad end does not close a row.
        counts = ended & (jnp.arange(2 * beams) < beams) & ~done[:, None]
        ends = jnp.where(counts, best / (step + 1.0) ** length_penalty, DEAD)
        pool = jnp.concatenate([kept, ends], 1)
        kept, at = jax.lax.top_k(pool, beams)
        both = jnp.concatenate([kept_tokens, grown], 1)
        kept_tokens = jnp.take_along_axis(both, at[..., None], 1)

        going = jnp.where(ended | ~alive, DEAD, best)
        scores, at = jax.lax.top_k(going, beams)
        beam, token, nodes = (jnp.take_along_axis(x, at, 1) for x in (beam, token, node))
        tokens = jnp.take_along_axis(grown, at[..., None], 1)
        # No sequence can get better than the best one does that goes on.
        hope = scores[:, 0] / (step + 1.0) ** length_penalty
        done |= (scores[:, 0] <= DEAD / 2) | (hope <= kept[:, -1])

        rows = (jnp.arange(batch)[:, None] * beams + beam).reshape(-1)
        cache = jax.tree.map(lambda x: x[:, rows], cache)
        place = jnp.minimum(start + step, size - 1)  # of the tokens just chosen
        visible = seen & (jnp.arange(size) <= place)
        ids = jnp.where(token == eos_id, pad_id, token).reshape(-1).astype(jnp.int32)
        logits, cache = model.apply(
            variables, ids, lengths + step, visible, cache, place, method="decode"
        )
        return step + 1, scores, nodes, tokens, done, kept, kept_tokens, logits, cache

    def running(state: tuple) -> Array:
        return (state[0] < max_new_tokens) & ~state[4].all()

    nothing = jnp.full((batch, beams, max_new_tokens), pad_id, jnp.int32)
    state = (
        jnp.int32(0),
        jnp.broadcast_to(jnp.where(first, 0.0, DEAD), (batch, beams)),
        jnp.full((batch, beams), ROOT, jnp.int32),
        nothing,
        jnp.zeros(batch, bool),
        jnp.full((batch, beams), DEAD),
        nothing,
        repeat(logits),
        cache,
    )
    final = jax.lax.while_loop(running, advance, state)
    return final[6][:, 0], final[5][:, 0]
