"""Greedy decoding and sampling in one compiled program.

Each shape of the inputs and each `max_new_tokens` compiles a program. `stream` runs the same steps
as separate programs, so that each token can be shown as soon as it is chosen.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float32, Int32, Key, UInt32

from zv_jax.arrays import Scalar
from zv_jax.inference.inputs import Inputs
from zv_jax.inference.logits import Drawing, Rules, allowed, is_one_of, logprob, nucleus
from zv_jax.inference.program import Ids, Seeds, Sequences, capacities, jit_decode, prefill, run
from zv_jax.models.llama import Cache, empty_cache, grown
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual

_STATIC = ("cfg", "max_new_tokens", "logprobs")


class Fixed(NamedTuple):
    """What is the same at every step; N = B * C rows.

    Attributes:
        lengths: tokens of the prompt.
        seeds: for sampling.
        drawing: settings of sampling; None: the most probable token.
        rules: for all tokens.
    """

    lengths: Int32[Array, " N"]
    seeds: UInt32[Array, " N"]
    drawing: Drawing | None
    rules: Rules


class SamplingState(NamedTuple):
    """What a step changes; N = B * C rows, T is max_new_tokens.

    Attributes:
        step: tokens chosen so far.
        ids: the latest token.
        ended: whether the row has ended.
        tokens: all chosen tokens, then padding.
        logprobs: of the tokens; None unless requested.
        cache: of the prompts and of all tokens but the latest.
    """

    step: Int32[Array, ""]
    ids: Int32[Array, " N"]
    ended: Bool[Array, " N"]
    tokens: Int32[Array, "N T"]
    logprobs: Float32[Array, "N T"] | None
    cache: Cache


@jit_decode(static_argnames=_STATIC)
def generate(
    variables: dict,
    inputs: Inputs,
    seeds: Seeds,
    *,
    cfg: ModelConfig,
    max_new_tokens: int,
    stop: Ids,
    pad_id: Scalar,
    drawing: Drawing | None = None,
    min_new_tokens: Scalar = 0,
    repetition_penalty: Scalar | None = None,
    logprobs: bool = False,
) -> Sequences:
    """Continues every row, greedily or by sampling.

    Args:
        variables, inputs, cfg: as in `prefill`.
        seeds: of C draws for each prompt; a draw depends on its own seed only.
        max_new_tokens: at least 1.
        stop, pad_id, min_new_tokens, repetition_penalty: see `Rules`.
        drawing: settings of sampling; None takes the most probable token.
        logprobs: whether to return the log-probabilities of the tokens by the model itself, before
            penalty, temperature and nucleus.
    """
    rules = Rules(stop, pad_id, cfg.image_token_id, min_new_tokens, repetition_penalty)
    fixed, state = _start(
        variables, inputs, seeds, drawing, rules, cfg=cfg, max_new_tokens=max_new_tokens,
        logprobs=logprobs,
    )  # fmt: skip
    advance = functools.partial(_advance, variables, fixed, cfg=cfg)
    state = run(advance, lambda now: ~now.ended.all(), state, max_new_tokens)
    shaped = lambda x: x.reshape(*seeds.shape, max_new_tokens)
    return Sequences(shaped(state.tokens), None, jax.tree.map(shaped, state.logprobs))


def stream(
    variables: dict,
    inputs: Inputs,
    seeds: Seeds,
    *,
    cfg: ModelConfig,
    max_new_tokens: int,
    stop: Ids,
    pad_id: Scalar,
    drawing: Drawing | None = None,
    min_new_tokens: Scalar = 0,
    repetition_penalty: Scalar | None = None,
) -> Iterator[Int32[Array, " BC"]]:
    """The columns of what `generate` returns, B * C tokens each, as soon as they are chosen.

    A column is there until the next one is asked for, whose step takes its memory. It ends when
    every row has ended. Arguments as in `generate`.
    """
    rules = Rules(stop, pad_id, cfg.image_token_id, min_new_tokens, repetition_penalty)
    fixed, state = _start_alone(
        variables, inputs, seeds, drawing, rules, cfg=cfg, max_new_tokens=max_new_tokens,
        logprobs=False,
    )  # fmt: skip
    chosen = 1
    for places in capacities(max_new_tokens - 1):
        state = _grow_alone(state, places)
        while chosen <= places:
            yield state.ids
            if bool(state.ended.all()):
                return
            state = _advance_alone(variables, fixed, state, cfg=cfg)
            chosen += 1
    yield state.ids


def _start(
    variables: dict,
    inputs: Inputs,
    seeds: Seeds,
    drawing: Drawing | None,
    rules: Rules,
    *,
    cfg: ModelConfig,
    max_new_tokens: int,
    logprobs: bool,
) -> tuple[Fixed, SamplingState]:
    """Reads the prompts and chooses the first token."""
    read = prefill(variables, inputs, cfg=cfg)
    each = seeds.shape[1]
    rows = seeds.size
    fixed = Fixed(jnp.repeat(read.lengths, each), jnp.ravel(seeds), drawing, rules)
    state = SamplingState(
        step=jnp.int32(0),
        ids=jnp.zeros(rows, jnp.int32),
        ended=jnp.zeros(rows, bool),
        tokens=jnp.full((rows, max_new_tokens), rules.pad_id, jnp.int32),
        logprobs=jnp.zeros((rows, max_new_tokens)) if logprobs else None,
        cache=empty_cache(read.prompt, read.seen, each, 0),
    )
    return fixed, choose(fixed, state, jnp.repeat(read.logits, each, 0))


def _advance(
    variables: dict, fixed: Fixed, state: SamplingState, *, cfg: ModelConfig
) -> SamplingState:
    """Reads the latest token and chooses the next."""
    place = state.step - 1
    logits, cache = ZiyaVisual(cfg).apply(
        variables, state.ids, fixed.lengths + place, state.cache, place, method="decode"
    )
    return choose(fixed, state._replace(cache=cache), logits)


_start_alone = jit_decode(static_argnames=_STATIC)(_start)
_advance_alone = jit_decode(static_argnames="cfg", donate_argnums=2)(_advance)


@functools.partial(jax.jit, static_argnums=1)
def _grow_alone(state: SamplingState, places: int) -> SamplingState:
    return state._replace(cache=grown(state.cache, places))


def choose(fixed: Fixed, state: SamplingState, logits: Float32[Array, "N V"]) -> SamplingState:
    """The state with the next token of every row; padding where it has ended."""
    step, rules = state.step, fixed.rules
    open_ = allowed(logits, state.tokens, step, rules)
    if fixed.drawing is None:
        ids = open_.argmax(-1)
    else:
        temperature, top_p, top_k, min_p = fixed.drawing
        keys = jax.vmap(jax.random.key)(fixed.seeds)
        scaled = open_ / jnp.asarray(temperature)[..., None]
        left = nucleus(scaled, top_p, top_k, min_p)
        ids = jax.vmap(jax.random.categorical)(_fold(keys, step), left)
    logprobs = state.logprobs
    if logprobs is not None:
        now = jnp.where(state.ended, 0, logprob(logits, ids))
        logprobs = logprobs.at[:, step].set(now)
    ids = jnp.where(state.ended, rules.pad_id, ids).astype(jnp.int32)
    return state._replace(
        step=step + 1,
        ids=ids,
        ended=state.ended | is_one_of(ids, rules.stop),
        tokens=state.tokens.at[:, step].set(ids),
        logprobs=logprobs,
    )


def _fold(keys: Key[Array, " B"], step: Int32[Array, ""] | int) -> Key[Array, " B"]:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, step)
