"""Beam search, with or without a tree of allowed answers.

Scores are those of Hugging Face transformers: the sum of the log-probabilities of a sequence, with
`</s>`, divided by its length to the power of `length_penalty`. With `length_penalty=0`, a tree and
at least as many beams as answers, the best beam is the most probable answer, the same that ranking
all answers by their sums returns.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float32, Int, Int32

from zv_jax.arrays import Scalar
from zv_jax.inference.inputs import Inputs
from zv_jax.inference.logits import Rules, allowed, is_one_of
from zv_jax.inference.program import Ids, Prefilled, Sequences, jit_decode, prefill, run
from zv_jax.inference.trie import ROOT, Edges
from zv_jax.models.llama import Cache, empty_cache
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual

DEAD = -1e9  # score of a missing beam: finite, so that no sum is NaN
_STATIC = ("cfg", "max_new_tokens", "num_beams", "length_penalty", "logprobs")


class Path(NamedTuple):
    """N sequences of each row; T is max_new_tokens.

    Attributes:
        scores: sums of log-probabilities; for ended ones divided by a power of their length.
        tokens: then padding.
        logprobs: of the tokens; None unless requested.
    """

    scores: Float32[Array, "B N"]
    tokens: Int32[Array, "B N T"]
    logprobs: Float32[Array, "B N T"] | None


class BeamState(NamedTuple):
    """What a step changes; a row has N beams, in consecutive rows of the cache.

    Attributes:
        step: tokens chosen so far.
        going: the live beams, best first.
        ended: the best finished sequences, best first.
        ids: the latest token of each beam.
        parents: the beam of the previous step that each of them continues.
        nodes: the node of each beam in the tree of answers.
        done: whether no live beam of the row can still become one of its best sequences.
        cache: of the prompts and, for the parents, of all tokens but the latest.
    """

    step: Int32[Array, ""]
    going: Path
    ended: Path
    ids: Int32[Array, "B N"]
    parents: Int32[Array, "B N"]
    nodes: Int32[Array, "B N"]
    done: Bool[Array, " B"]
    cache: Cache


class Candidates(NamedTuple):
    """The best 2 * N continuations of every row, best first.

    Attributes:
        scores: sums of log-probabilities; `DEAD` where there is no continuation.
        beam: index of the beam that is continued.
        token: the token that continues it.
        node: the node of the tree of answers that it reaches.
    """

    scores: Float32[Array, "B 2*N"]
    beam: Int[Array, "B 2*N"]
    token: Int[Array, "B 2*N"]
    node: Int[Array, "B 2*N"]


class Search(NamedTuple):
    """What is the same at every step.

    Attributes:
        lengths: tokens of the prompt of each beam.
        most: tokens of the longest sequence; the arrays may have room for more.
        edges: of the tree of answers; None: all are allowed.
        length_penalty: the power of the length that scores are divided by.
        rules: for all tokens.
    """

    lengths: Int32[Array, " B*N"]
    most: Scalar
    edges: Edges | None
    length_penalty: Scalar
    rules: Rules


@jit_decode(static_argnames=_STATIC)
def beam_search(
    variables: dict,
    inputs: Inputs,
    edges: Edges | None = None,
    *,
    cfg: ModelConfig,
    max_new_tokens: int,
    num_beams: int,
    stop: Ids,
    pad_id: Scalar,
    min_new_tokens: Scalar = 0,
    repetition_penalty: Scalar | None = None,
    length_penalty: float = 1.0,
    logprobs: bool = False,
) -> Sequences:
    """The best continuations of every row, as many as beams.

    Args:
        variables, inputs, cfg: as in `prefill`.
        edges: of a `trie.Trie`; None allows every token.
        max_new_tokens: at least 1; longer sequences end there, without an id of `stop`.
        num_beams: live beams, and finished sequences kept, for each row.
        stop, pad_id, min_new_tokens, repetition_penalty: see `Rules`; the penalty is on
            log-probabilities, as in Hugging Face transformers.
        length_penalty: above 0 prefers long answers, below 0 short ones.
        logprobs: whether to return the log-probabilities of the tokens, before any penalty.

    Returns:
        The best first. If a row has fewer sequences, the scores of the rest are `DEAD`.
    """
    read = prefill(variables, inputs, cfg=cfg)
    rules = Rules(stop, pad_id, cfg.image_token_id, min_new_tokens, repetition_penalty)
    return search_from(
        variables, read, rules, edges, cfg=cfg, max_new_tokens=max_new_tokens,
        num_beams=num_beams, length_penalty=length_penalty, logprobs=logprobs,
    )  # fmt: skip


def search_from(
    variables: dict,
    read: Prefilled,
    rules: Rules,
    edges: Edges | None = None,
    *,
    cfg: ModelConfig,
    max_new_tokens: int,
    num_beams: int,
    length_penalty: float,
    logprobs: bool = False,
) -> Sequences:
    """What `beam_search` returns, for prompts that have been read; arguments as there."""
    search, state = start(
        read, rules, max_new_tokens, edges, length_penalty, num_beams=num_beams,
        max_new_tokens=max_new_tokens, logprobs=logprobs,
    )  # fmt: skip
    step = functools.partial(advance, variables, search, cfg=cfg)
    ended = run(step, lambda now: ~now.done.all(), state, max_new_tokens).ended
    return Sequences(ended.tokens, ended.scores, ended.logprobs)


def start(
    read: Prefilled,
    rules: Rules,
    most: Scalar,
    edges: Edges | None,
    length_penalty: Scalar,
    *,
    num_beams: int,
    max_new_tokens: int,
    logprobs: bool,
) -> tuple[Search, BeamState]:
    """What stays the same while the prompts of `read` are searched, and the first tokens.

    Args:
        most, edges, length_penalty, rules: see `Search`.
        num_beams, max_new_tokens, logprobs: as in `beam_search`; at least `most` tokens.

    Returns:
        The cache of the state has no room for new tokens yet; `grown` makes it.
    """
    search = Search(jnp.repeat(read.lengths, num_beams), most, edges, length_penalty, rules)
    batch = len(read.lengths)

    def paths(first: float) -> Path:
        shape = batch, num_beams, max_new_tokens
        scores = jnp.where(jnp.arange(num_beams) == 0, first, DEAD)
        return Path(
            jnp.broadcast_to(scores, shape[:2]),
            jnp.full(shape, rules.pad_id, jnp.int32),
            jnp.zeros(shape) if logprobs else None,
        )

    beams = jnp.zeros((batch, num_beams), jnp.int32)
    state = BeamState(
        step=jnp.int32(0),
        going=paths(0.0),
        ended=paths(DEAD),
        ids=beams,
        parents=beams,
        nodes=beams + ROOT,
        done=jnp.zeros(batch, bool),
        cache=empty_cache(read.prompt, read.seen, num_beams, 0),
    )
    return search, _choose(search, state, jnp.repeat(read.logits, num_beams, 0))


def advance(variables: dict, search: Search, state: BeamState, *, cfg: ModelConfig) -> BeamState:
    """Reads the latest tokens and chooses the next."""
    place, rules = state.step - 1, search.rules
    ids = jnp.where(is_one_of(state.ids, rules.stop), rules.pad_id, state.ids).reshape(-1)
    logits, cache = ZiyaVisual(cfg).apply(
        variables, ids, search.lengths + place, state.cache, place, state.parents, method="decode"
    )
    return _choose(search, state._replace(cache=cache), logits)


def _choose(search: Search, state: BeamState, logits: Float32[Array, "BN V"]) -> BeamState:
    """The state one token further, given the logits of that token for each beam."""
    step, going = state.step, state.going
    (batch, beams, _), penalty = going.tokens.shape, search.length_penalty
    logp = jax.nn.log_softmax(logits)
    best = _candidates(search, state, logp)
    grown = _continued(going, best, logp.reshape(batch, beams, -1), step)

    alive = best.scores > DEAD / 2
    ended = alive & (is_one_of(best.token, search.rules.stop) | (step + 1 == search.most))
    # Only ends among the first `beams` are kept, so that a poor one does not finish a row.
    counts = ended & (jnp.arange(2 * beams) < beams) & ~state.done[:, None]
    ends = jnp.where(counts, best.scores / (step + 1.0) ** penalty, DEAD)
    pool = jax.tree.map(
        lambda *kept: jnp.concatenate(kept, 1), state.ended, grown._replace(scores=ends)
    )
    kept, _ = _best(pool, pool.scores, beams)

    open_ = jnp.where(ended | ~alive, DEAD, best.scores)
    going, at = _best(grown._replace(scores=open_), open_, beams)
    taken = lambda x: jnp.take_along_axis(x, at, 1)
    # No live beam can score higher than the best of them does now.
    hope = going.scores[:, 0] / (step + 1.0) ** penalty
    done = state.done | (going.scores[:, 0] <= DEAD / 2) | (hope <= kept.scores[:, -1])
    return BeamState(
        step=step + 1,
        going=going,
        ended=kept,
        ids=taken(best.token).astype(jnp.int32),
        parents=taken(best.beam),
        nodes=taken(best.node),
        done=done,
        cache=state.cache,
    )


def _candidates(search: Search, state: BeamState, logp: Float32[Array, "BN V"]) -> Candidates:
    """The best continuations by the log-probabilities of the next token of each beam."""
    batch, beams, room = state.going.tokens.shape
    chosen = state.going.tokens.reshape(-1, room)
    logp = jnp.maximum(allowed(logp, chosen, state.step, search.rules), DEAD)
    logp = logp.reshape(batch, beams, -1)
    scores = state.going.scores[..., None]
    if search.edges is None:
        token, child = jnp.arange(logp.shape[-1]), None
        total = scores + logp
    else:
        parent, token, child = map(jnp.asarray, search.edges)
        possible = parent == state.nodes[..., None]
        total = jnp.where(possible, scores + logp[..., token], DEAD)
    width = total.shape[-1]
    best, at = jax.lax.top_k(total.reshape(batch, -1), min(2 * beams, beams * width))
    missing = 2 * beams - best.shape[1]
    best = jnp.pad(best, ((0, 0), (0, missing)), constant_values=DEAD)
    at = jnp.pad(at, ((0, 0), (0, missing)))
    to = jnp.zeros_like(at) if child is None else child[at % width]
    return Candidates(best, at // width, token[at % width], to)


def _continued(
    going: Path, best: Candidates, logp: Float32[Array, "B N V"], step: Int32[Array, ""]
) -> Path:
    """The candidates as sequences, 2 * N for each row."""
    taken = lambda x: jnp.take_along_axis(x, best.beam[..., None], 1)
    logprobs = going.logprobs
    if logprobs is not None:
        now = logp[jnp.arange(len(logp))[:, None], best.beam, best.token]
        logprobs = taken(logprobs).at[:, :, step].set(now)
    return Path(best.scores, taken(going.tokens).at[:, :, step].set(best.token), logprobs)


def _best(
    paths: Path, scores: Float32[Array, "B N"], count: int
) -> tuple[Path, Int[Array, "B {count}"]]:
    """The `count` best sequences by their scores, and their indices."""
    scores, at = jax.lax.top_k(scores, count)
    rest = jax.tree.map(
        lambda x: jnp.take_along_axis(x, at[..., None], 1), (paths.tokens, paths.logprobs)
    )
    return Path(scores, *rest), at
