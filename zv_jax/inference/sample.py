"""Token by token: one compiled program that reads the prompt, then decodes until every row ends.

Prompts are padded on the left, so all rows write the same place of the cache at the same step.
The cache has its final size from the start and never leaves the program, whose loop reuses its
memory; a program is compiled per shape of the inputs and per `max_new_tokens`.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from zv_jax.inference.program import token_by_token
from zv_jax.models.layers import Array
from zv_jax.models.llama import Cache, init_cache
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual

_STATIC = ("cfg", "max_new_tokens", "sample")


def read_prompt(
    variables: dict,
    images: Array | None,
    input_ids: Array,
    attention_mask: Array,
    qformer_input_ids: Array | None,
    qformer_attention_mask: Array | None,
    *,
    cfg: ModelConfig,
    room: int,
) -> tuple[ZiyaVisual, Array, Cache, Array, Array]:
    """Sees the images once and reads the prompt once: what all ways of going on begin with.

    Args:
        variables, images, input_ids, attention_mask, qformer_input_ids, qformer_attention_mask,
            cfg: as in `generate`.
        room: places of the cache behind the prompt.

    Returns:
        the model; logits [B, V] of the next token; the cache, of length T + room; seen
        bool [B, T + room], true at the prompt's tokens and behind the prompt; their number
        int32 [B].
    """
    model = ZiyaVisual(cfg)
    batch, length = input_ids.shape
    visual = None
    if images is not None:
        visual = model.apply(
            variables, images, qformer_input_ids, qformer_attention_mask, method="visual_tokens"
        )
    cache = init_cache(cfg.llm, batch, length + room, jnp.dtype(cfg.dtype))
    logits, cache = model.apply(
        variables, visual, input_ids, attention_mask, cache, method="prefill"
    )
    seen = attention_mask.astype(bool)
    lengths = seen.sum(1, dtype=jnp.int32)
    seen = jnp.pad(seen, ((0, 0), (0, room)), constant_values=True)
    return model, logits, cache, seen, lengths


@token_by_token(static_argnames=_STATIC)
def generate(
    variables: dict,
    images: Array | None,
    input_ids: Array,
    attention_mask: Array,
    qformer_input_ids: Array | None,
    qformer_attention_mask: Array | None,
    seeds: Array,
    *,
    cfg: ModelConfig,
    max_new_tokens: int,
    eos_id: Array | int,
    pad_id: Array | int,
    sample: bool = False,
    temperature: Array | float = 1.0,
    top_p: Array | float = 1.0,
) -> Array:
    """Continue every row, greedily or by sampling.

    Args:
        variables: of `ZiyaVisual`.
        images: uint8 [B, I, H, W, 3]; None when no row has an image. Images without
            placeholders in their row are ignored.
        input_ids: int [B, T], padded on the left.
        attention_mask: bool [B, T].
        qformer_input_ids: int [B, S], the instruction; None for Base.
        qformer_attention_mask: bool [B, S]; None for Base.
        seeds: uint32 [B], of drawing; a row's draws depend on no other row.
        cfg: the architecture.
        max_new_tokens: at least 1.
        eos_id: ends a row.
        pad_id: follows it.
        sample: draw from the distribution that `temperature` and `top_p` leave;
            otherwise take the most probable token.

    Returns:
        int32 [B, max_new_tokens].
    """
    model, logits, cache, seen, lengths = read_prompt(
        variables,
        images,
        input_ids,
        attention_mask,
        qformer_input_ids,
        qformer_attention_mask,
        cfg=cfg,
        room=max_new_tokens - 1,  # the last token is returned and never read
    )
    batch, length = input_ids.shape
    size = seen.shape[1]
    keys = jax.vmap(jax.random.key)(seeds)

    def choose(logits: Array, step: Array | int, ended: Array) -> Array:
        # The placeholder stands for an image in a prompt and never for a word.
        logits = logits.at[:, cfg.image_token_id].set(-jnp.inf)
        if sample:
            logits = nucleus(logits / temperature, top_p)
            ids = jax.vmap(jax.random.categorical)(_fold(keys, step), logits)
        else:
            ids = logits.argmax(-1)
        return jnp.where(ended, pad_id, ids).astype(jnp.int32)

    ids = choose(logits, 0, jnp.zeros(batch, bool))
    out = jnp.full((batch, max_new_tokens), pad_id, jnp.int32).at[:, 0].set(ids)

    def running(state: tuple) -> Array:
        step, _, ended, _, _ = state
        return (step < max_new_tokens) & ~ended.all()

    def advance(state: tuple) -> tuple:
        step, ids, ended, out, cache = state
        place = length + step - 1  # of the token chosen last, which is read now
        visible = seen & (jnp.arange(size) <= place)
        logits, cache = model.apply(
            variables, ids, lengths + step - 1, visible, cache, place, method="decode"
        )
        ids = choose(logits, step, ended)
        return step + 1, ids, ended | (ids == eos_id), out.at[:, step].set(ids), cache

    state = (jnp.int32(1), ids, ids == eos_id, out, cache)
    return jax.lax.while_loop(running, advance, state)[3]


def _fold(keys: Array, step: Array | int) -> Array:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, step)


def nucleus(logits: Array, top_p: Array | float) -> Array:
    """Logits [B, V] with -inf outside the nucleus (Holtzman et al. 2020).

    The nucleus is the smallest set of most probable tokens that holds at least `top_p` of the
    probability; it is never empty.
    """
    ordered = jnp.sort(logits, axis=-1, descending=True)
    probability = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probability, -1) - probability
    lowest = jnp.where(before < top_p, ordered, jnp.inf).min(-1, keepdims=True)
    return jnp.where(logits >= jnp.minimum(lowest, ordered[:, :1]), logits, -jnp.inf)
