"""Beam search, with or without a tree of allowed answers.

The scores are those of Hugging Face transformers: the sum of the log-probabilities of a sequence,
`</s>` counted, divided by its length to the power of `length_penalty`. With `length_penalty=0`, a
tree and at least as many beams as answers, the best beam is the most probable answer: the same that
ranking all of them by their sums finds.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from zv_jax.inference.inputs import Inputs
from zv_jax.inference.sample import is_one_of, jit_decode, prefill
from zv_jax.inference.trie import ROOT, Edges
from zv_jax.models.layers import Array
from zv_jax.models.llama import Cache
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual

DEAD = -1e9  # score of a beam that is not there: finite, so that no sum is NaN
_STATIC = ("cfg", "max_new_tokens", "min_new_tokens", "num_beams", "length_penalty")


class BeamState(NamedTuple):
    """What a step changes; K beams a row.

    Attributes:
        step: int32, tokens chosen so far.
        scores: float32 [B, K], sums of log-probabilities of the beams that go on, best first.
        nodes: int32 [B, K], where each of them is in the tree of answers.
        tokens: int32 [B, K, max_new_tokens], their tokens.
        done: bool [B], whether no sequence of the row can become one of its best.
        ended_scores: float32 [B, K], of the best sequences that have ended, best first.
        ended_tokens: int32 [B, K, max_new_tokens], their tokens.
        logits: [B * K, V] of the next token.
        cache: of the prompt and the tokens of the beams, [.., B * K, ..].
    """

    step: Array
    scores: Array
    nodes: Array
    tokens: Array
    done: Array
    ended_scores: Array
    ended_tokens: Array
    logits: Array
    cache: Cache


class Candidates(NamedTuple):
    """The best 2 * K continuations of every row, best first; all [B, 2 * K].

    Attributes:
        scores: float32, sums of log-probabilities; `DEAD` where there is none.
        beam: which beam is continued.
        token: by which token.
        node: to which node of the tree of answers.
    """

    scores: Array
    beam: Array
    token: Array
    node: Array


@jit_decode(static_argnames=_STATIC)
def beam_search(
    variables: dict,
    inputs: Inputs,
    edges: Edges | None = None,
    *,
    cfg: ModelConfig,
    max_new_tokens: int,
    num_beams: int,
    stop: Array,
    pad_id: Array | int,
    min_new_tokens: int = 0,
    length_penalty: float = 1.0,
) -> tuple[Array, Array]:
    """The best continuation of every row.

    Args:
        variables, inputs: as in `sample.generate`.
        edges: of a `trie.Trie`; None allows every token.
        cfg: the architecture.
        max_new_tokens: at least 1; what is longer ends there, without an id of `stop`.
        num_beams: beams of each row, and finished sequences kept of each.
        stop, pad_id: as in `sample.generate`.
        min_new_tokens: tokens before an id of `stop` is allowed.
        length_penalty: above 0 prefers long answers, below 0 short ones.

    Returns:
        int32 [B, max_new_tokens], and the scores, float32 [B].
    """
    model = ZiyaVisual(cfg)
    read = prefill(variables, inputs, cfg=cfg, room=max_new_tokens - 1)
    (batch, start), beams = inputs.input_ids.shape, num_beams
    size = read.seen.shape[1]
    repeat = lambda x, axis=0: jnp.repeat(x, beams, axis)
    seen, lengths = repeat(read.seen), repeat(read.lengths)

    def candidates(state: BeamState) -> Candidates:
        logp = jax.nn.log_softmax(state.logits.astype(jnp.float32).reshape(batch, beams, -1))
        # The placeholder stands for an image in a prompt and never for a word.
        logp = logp.at[..., cfg.image_token_id].set(DEAD)
        early = (state.step < min_new_tokens) & is_one_of(jnp.arange(logp.shape[-1]), stop)
        logp = jnp.where(early, DEAD, logp)
        if edges is None:
            token, child = jnp.arange(logp.shape[-1]), None
            total = state.scores[..., None] + logp
        else:
            parent, token, child = map(jnp.asarray, edges)
            possible = parent == state.nodes[..., None]
            total = jnp.where(possible, state.scores[..., None] + logp[..., token], DEAD)
        width = total.shape[-1]
        best, at = jax.lax.top_k(total.reshape(batch, -1), min(2 * beams, beams * width))
        missing = 2 * beams - best.shape[1]
        best = jnp.pad(best, ((0, 0), (0, missing)), constant_values=DEAD)
        at = jnp.pad(at, ((0, 0), (0, missing)))
        to = jnp.zeros_like(at) if child is None else child[at % width]
        return Candidates(best, at // width, token[at % width], to)

    def advance(state: BeamState) -> BeamState:
        step = state.step
        best, beam, token, node = candidates(state)
        grown = jnp.take_along_axis(state.tokens, beam[..., None], 1).at[:, :, step].set(token)
        alive = best > DEAD / 2
        ended = alive & (is_one_of(token, stop) | (step + 1 == max_new_tokens))
        # Only what ends among the first `beams` is kept, so that a bad end does not close a row.
        counts = ended & (jnp.arange(2 * beams) < beams) & ~state.done[:, None]
        ends = jnp.where(counts, best / (step + 1.0) ** length_penalty, DEAD)
        pool = jnp.concatenate([state.ended_scores, ends], 1)
        ended_scores, at = jax.lax.top_k(pool, beams)
        pool = jnp.concatenate([state.ended_tokens, grown], 1)
        ended_tokens = jnp.take_along_axis(pool, at[..., None], 1)

        going = jnp.where(ended | ~alive, DEAD, best)
        scores, at = jax.lax.top_k(going, beams)
        beam, token, nodes = (jnp.take_along_axis(x, at, 1) for x in (beam, token, node))
        tokens = jnp.take_along_axis(grown, at[..., None], 1)
        # No sequence can get better than the best one does that goes on.
        hope = scores[:, 0] / (step + 1.0) ** length_penalty
        done = state.done | (scores[:, 0] <= DEAD / 2) | (hope <= ended_scores[:, -1])

        rows = (jnp.arange(batch)[:, None] * beams + beam).reshape(-1)
        cache = jax.tree.map(lambda x: x[:, rows], state.cache)
        place = jnp.minimum(start + step, size - 1)  # of the tokens just chosen
        visible = seen & (jnp.arange(size) <= place)
        ids = jnp.where(is_one_of(token, stop), pad_id, token).reshape(-1).astype(jnp.int32)
        logits, cache = model.apply(
            variables, ids, lengths + step, visible, cache, place, method="decode"
        )
        return BeamState(
            step + 1, scores, nodes, tokens, done, ended_scores, ended_tokens, logits, cache
        )

    def running(state: BeamState) -> Array:
        return (state.step < max_new_tokens) & ~state.done.all()

    nothing = jnp.full((batch, beams, max_new_tokens), pad_id, jnp.int32)
    first = jnp.arange(beams) == 0
    state = BeamState(
        step=jnp.int32(0),
        scores=jnp.broadcast_to(jnp.where(first, 0.0, DEAD), (batch, beams)),
        nodes=jnp.full((batch, beams), ROOT, jnp.int32),
        tokens=nothing,
        done=jnp.zeros(batch, bool),
        ended_scores=jnp.full((batch, beams), DEAD),
        ended_tokens=nothing,
        logits=repeat(read.logits),
        cache=jax.tree.map(lambda x: repeat(x, 1), read.cache),
    )
    final = jax.lax.while_loop(running, advance, state)
    return final.ended_tokens[:, 0], final.ended_scores[:, 0]
