"""Slots: rows of fixed shape that answer different questions, each at a step of its own.

Three programs, as in JetStream: `prefill` reads a prompt, `insert` puts it into a slot, `step`
chooses the next token of every slot. A slot never depends on what the others hold.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32, UInt32

from zv_jax.arrays import Array
from zv_jax.inference.decoding import Greedy, Sample
from zv_jax.inference.logits import Rules, allowed, logprob, nucleus
from zv_jax.models.llama import Cache, Layers
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual


class Settings(NamedTuple):
    """How each of S slots decodes; fields as in `Sample`, and a temperature of 0 is greedy."""

    temperature: Float32[Array, " S"]
    top_p: Float32[Array, " S"]
    top_k: Int32[Array, " S"]
    min_p: Float32[Array, " S"]
    seed: UInt32[Array, " S"]
    min_new_tokens: Int32[Array, " S"]
    repetition_penalty: Float32[Array, " S"]


class Slots(NamedTuple):
    """The state of S slots, each with room for T new tokens.

    Attributes:
        ids: the latest token.
        logprobs: of it, by the model itself.
        tokens: all chosen tokens; those from `made` on are left over from earlier answers.
        made: how many have been chosen.
        lengths: tokens of the prompt.
        settings: see `Settings`.
        cache: prompts, padded on the left to one length, and all tokens but the latest.
    """

    ids: Int32[Array, " S"]
    logprobs: Float32[Array, " S"]
    tokens: Int32[Array, "S T"]
    made: Int32[Array, " S"]
    lengths: Int32[Array, " S"]
    settings: Settings
    cache: Cache


class Fixed(NamedTuple):
    """What all slots share: ids that end an answer, and padding."""

    stop: Int32[np.ndarray, " N"]
    pad_id: int


class Prompt(NamedTuple):
    """A prompt that has been read, at the end of P places.

    Attributes:
        logits: of its first token.
        kept: keys and values.
        seen: True at its tokens.
    """

    logits: Float32[Array, "1 V"]
    kept: Layers
    seen: Bool[Array, "1 P"]


def settings_of(decoding: Greedy | Sample) -> Settings:
    """The settings of one slot."""
    one = decoding if isinstance(decoding, Sample) else Sample()
    number = np.float32
    return Settings(
        temperature=number(decoding.temperature if isinstance(decoding, Sample) else 0)[None],
        top_p=number(one.top_p)[None],
        top_k=np.array([one.top_k], np.int32),
        min_p=number(one.min_p)[None],
        seed=one.seeds(1),
        min_new_tokens=np.array([decoding.min_new_tokens], np.int32),
        repetition_penalty=number(decoding.repetition_penalty)[None],
    )


def empty(prompt: Prompt, slots: int, new: int) -> Slots:
    """Slots with room for prompts like `prompt`, and for `new` new tokens."""
    places = prompt.seen.shape[1]

    def room(length: int) -> Layers:
        def make(kept: Array) -> Array:
            *layers, _, groups, _, dim = kept.shape
            return jnp.zeros((*layers, slots, groups, length, dim), kept.dtype)

        return jax.tree.map(make, prompt.kept)

    rows = jnp.zeros(slots, jnp.int32)
    settings = jax.tree.map(lambda one: jnp.repeat(jnp.asarray(one), slots), settings_of(Greedy()))
    return Slots(
        ids=rows,
        logprobs=jnp.zeros(slots),
        tokens=jnp.zeros((slots, new), jnp.int32),
        made=rows + 1,
        lengths=rows,
        settings=settings,
        cache=Cache(room(places), jnp.zeros((slots, places), bool), room(new)),
    )


def prefill(
    variables: dict,
    visual: Float[Array, "W IQ D"] | None,
    input_ids: Int[Array, "W L"],
    attention_mask: Bool[Array, "W L"],
    *,
    cfg: ModelConfig,
    places: int,
) -> Prompt:
    """Reads one prompt, padded on the left; the k-th placeholder takes the k-th of `visual`.

    The W rows, one for each device that shares rows, are equal.
    """
    before = places - input_ids.shape[1]
    arguments = visual, input_ids, attention_mask
    logits, kept = ZiyaVisual(cfg).apply(variables, *arguments, method="prefill")

    def first(stack: Array) -> Array:
        pad = [(0, 0)] * stack.ndim
        pad[-2] = (before, 0)
        return jnp.pad(jax.lax.slice_in_dim(stack, 0, 1, axis=stack.ndim - 4), pad)

    seen = jnp.pad(jnp.asarray(attention_mask)[:1], ((0, 0), (before, 0)))
    return Prompt(logits[:1], jax.tree.map(first, kept), seen)


def insert(
    slots: Slots, prompt: Prompt, slot: Int[Array, ""], settings: Settings, fixed: Fixed,
    *, cfg: ModelConfig,
) -> Slots:  # fmt: skip
    """The slots with `prompt` in one of them, and its first token chosen."""

    def put(all_: Array, one: Array, axis: int = 0) -> Array:
        return jax.lax.dynamic_update_slice_in_dim(all_, one.astype(all_.dtype), slot, axis)

    cache = slots.cache._replace(
        prompt=jax.tree.map(
            lambda all_, one: put(all_, one, one.ndim - 4), slots.cache.prompt, prompt.kept
        ),
        seen=put(slots.cache.seen, prompt.seen),
    )
    made = jnp.zeros(1, jnp.int32)
    tokens = jnp.zeros((1, slots.tokens.shape[1]), jnp.int32)
    ids, logprobs = _choose(prompt.logits, tokens, made, settings, fixed, cfg)
    return Slots(
        ids=put(slots.ids, ids),
        logprobs=put(slots.logprobs, logprobs),
        tokens=put(slots.tokens, tokens.at[:, 0].set(ids)),
        made=put(slots.made, made + 1),
        lengths=put(slots.lengths, prompt.seen.sum(1, dtype=jnp.int32)),
        settings=jax.tree.map(put, slots.settings, settings),
        cache=cache,
    )


def step(variables: dict, slots: Slots, fixed: Fixed, *, cfg: ModelConfig) -> Slots:
    """Reads the latest token of every slot and chooses the next.

    An empty slot computes what nobody reads; one that is full stays at its last place.
    """
    rows, room = slots.tokens.shape
    place = slots.made - 1
    logits, cache = ZiyaVisual(cfg).apply(
        variables, slots.ids, slots.lengths + place, slots.cache, place, method="decode"
    )
    made = jnp.minimum(slots.made, room - 1)
    ids, logprobs = _choose(logits, slots.tokens, made, slots.settings, fixed, cfg)
    return slots._replace(
        ids=ids,
        logprobs=logprobs,
        tokens=slots.tokens.at[jnp.arange(rows), made].set(ids),
        made=made + 1,
        cache=cache,
    )


def _choose(
    logits: Float32[Array, "N V"],
    tokens: Int32[Array, "N T"],
    made: Int32[Array, " N"],
    settings: Settings,
    fixed: Fixed,
    cfg: ModelConfig,
) -> tuple[Int32[Array, " N"], Float32[Array, " N"]]:
    """The next token of each row and its log-probability, as `inference.sample` chooses them."""

    def one(logits: Array, tokens: Array, made: Array, least: Array, penalty: Array) -> Array:
        rules = Rules(fixed.stop, fixed.pad_id, cfg.image_token_id, least, penalty)
        return allowed(logits[None], tokens[None], made, rules)[0]

    least, penalty = settings.min_new_tokens, settings.repetition_penalty
    open_ = jax.vmap(one)(logits, tokens, made, least, penalty)
    greedy = settings.temperature == 0

    def drawn() -> Array:
        scaled = open_ / jnp.where(greedy, 1, settings.temperature)[:, None]
        left = nucleus(scaled, settings.top_p, settings.top_k, settings.min_p)
        keys = jax.vmap(lambda seed, made: jax.random.fold_in(jax.random.key(seed), made))
        return jax.vmap(jax.random.categorical)(keys(settings.seed, made), left)

    best = open_.argmax(-1)
    ids = jax.lax.cond(greedy.all(), lambda: best, lambda: jnp.where(greedy, best, drawn()))
    ids = ids.astype(jnp.int32)
    return ids, logprob(logits, ids)
