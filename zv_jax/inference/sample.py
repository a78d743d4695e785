"""Token by token: one compiled program that reads the prompt, then decodes until every row ends.

Prompts are padded on the left, so all rows write the same place of the cache at the same step.
The cache has its final size from the start and never leaves the program, whose loop reuses its
memory; a program is compiled per shape of the inputs and per `max_new_tokens`. `stream` runs the
same steps as programs of their own, so that each token can be shown as soon as it is chosen.

On GPUs these programs are compiled in their own way. The weights of all layers lie in one array,
and each step takes the layers out of it one after the other. XLA's own kernels (Triton) want them
by themselves, so every weight was copied before it was read: three times the traffic, where traffic
is all that a token costs. cuBLAS reads them where they lie. On one H100, with half the layers of
the 13B model, a token of one row took 7.0 ms instead of 14.2, one of 16 rows 10.6 instead of 17.9.
TPUs read them in place anyway.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from zv_jax.inference.inputs import Inputs
from zv_jax.models.layers import Array
from zv_jax.models.llama import Cache, init_cache
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual

ON_GPU = {
    "xla_gpu_enable_triton_gemm": False,
    "xla_gpu_enable_dynamic_slice_fusion": True,
}
_STATIC = ("cfg", "max_new_tokens", "sample")


def jit_decode(**settings: Any) -> Callable[[Callable], Callable]:
    """`jax.jit(**settings)` with the options above where the devices are GPUs.

    Which devices there are is asked on the first call and not on import: asking would start them,
    and a process of several must join the others before that.
    """

    def decorate(function: Callable) -> Callable:
        @functools.cache
        def program() -> Callable:
            options = ON_GPU if jax.default_backend() == "gpu" else None
            return jax.jit(function, compiler_options=options, **settings)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return program()(*args, **kwargs)

        return call

    return decorate


class Prefilled(NamedTuple):
    """A prompt that was read.

    Attributes:
        logits: [B, V] of the next token.
        cache: of length T + room.
        seen: bool [B, T + room], true at the prompt's tokens and behind the prompt.
        lengths: int32 [B], tokens of the prompt.
    """

    logits: Array
    cache: Cache
    seen: Array
    lengths: Array


class Fixed(NamedTuple):
    """What is the same at every step.

    Attributes:
        seen, lengths: see `Prefilled`.
        seeds: uint32 [B], of drawing.
        temperature, top_p, top_k: of drawing, see `nucleus`.
        stop: int32 [N], the ids that end a row.
        pad_id: follows them.
    """

    seen: Array
    lengths: Array
    seeds: Array
    temperature: Array | float
    top_p: Array | float
    top_k: Array | int
    stop: Array
    pad_id: Array | int


class SamplingState(NamedTuple):
    """What a step changes.

    Attributes:
        step: int32, tokens chosen so far.
        ids: int32 [B], the token chosen last.
        ended: bool [B].
        tokens: int32 [B, max_new_tokens], all tokens chosen, then padding.
        cache: of the prompt and of all tokens but the last.
    """

    step: Array
    ids: Array
    ended: Array
    tokens: Array
    cache: Cache


def prefill(variables: dict, inputs: Inputs, *, cfg: ModelConfig, room: int) -> Prefilled:
    """Encodes the images once and reads the prompt once: what all decoding begins with.

    Args:
        variables, inputs, cfg: as in `generate`.
        room: places of the cache behind the prompt.
    """
    model = ZiyaVisual(cfg)
    batch, length = inputs.input_ids.shape
    visual = None
    if inputs.images is not None:
        instruction = inputs.qformer_input_ids, inputs.qformer_attention_mask
        visual = model.apply(variables, inputs.images, *instruction, method="visual_tokens")
    cache = init_cache(cfg.llm, batch, length + room, jnp.dtype(cfg.dtype))
    logits, cache = model.apply(
        variables, visual, inputs.input_ids, inputs.attention_mask, cache, method="prefill"
    )
    seen = inputs.attention_mask.astype(bool)
    lengths = seen.sum(1, dtype=jnp.int32)
    seen = jnp.pad(seen, ((0, 0), (0, room)), constant_values=True)
    return Prefilled(logits, cache, seen, lengths)


@jit_decode(static_argnames=_STATIC)
def generate(
    variables: dict,
    inputs: Inputs,
    seeds: Array,
    *,
    cfg: ModelConfig,
    max_new_tokens: int,
    stop: Array,
    pad_id: Array | int,
    sample: bool = False,
    temperature: Array | float = 1.0,
    top_p: Array | float = 1.0,
    top_k: Array | int = 0,
) -> Array:
    """Continues every row, greedily or by sampling.

    Args:
        variables: of `ZiyaVisual`.
        inputs: padded on the left. Images without placeholders in their row are ignored.
        seeds: uint32 [B], of drawing; a row's draws depend on no other row.
        cfg: the architecture.
        max_new_tokens: at least 1.
        stop: int [N], the ids that end a row.
        pad_id: follows them.
        sample: draw from the distribution that `temperature`, `top_p` and `top_k` leave;
            otherwise take the most probable token.

    Returns:
        int32 [B, max_new_tokens].
    """

    def running(state: SamplingState) -> Array:
        return (state.step < max_new_tokens) & ~state.ended.all()

    drawing = temperature, top_p, top_k
    fixed, state = _start(
        variables, inputs, seeds, drawing, stop, pad_id, cfg, max_new_tokens, sample
    )
    advance = functools.partial(_advance, variables, fixed, cfg=cfg, sample=sample)
    return jax.lax.while_loop(running, advance, state).tokens


def stream(
    variables: dict,
    inputs: Inputs,
    seeds: Array,
    *,
    cfg: ModelConfig,
    max_new_tokens: int,
    stop: Array,
    pad_id: Array | int,
    sample: bool = False,
    temperature: Array | float = 1.0,
    top_p: Array | float = 1.0,
    top_k: Array | int = 0,
) -> Iterator[Array]:
    """The columns of what `generate` returns, each int32 [B], as soon as it is chosen.

    It ends when every row has ended. Arguments as in `generate`.
    """
    drawing = temperature, top_p, top_k
    fixed, state = _start_alone(
        variables, inputs, seeds, drawing, stop, pad_id, cfg, max_new_tokens, sample
    )
    for _ in range(1, max_new_tokens):
        yield state.ids
        if bool(state.ended.all()):
            return
        state = _advance_alone(variables, fixed, state, cfg=cfg, sample=sample)
    yield state.ids


def _start(
    variables: dict,
    inputs: Inputs,
    seeds: Array,
    drawing: tuple[Array | float, Array | float, Array | int],
    stop: Array,
    pad_id: Array | int,
    cfg: ModelConfig,
    max_new_tokens: int,
    sample: bool,
) -> tuple[Fixed, SamplingState]:
    """Reads the prompt and chooses the first token."""
    # The last token is returned and never read.
    read = prefill(variables, inputs, cfg=cfg, room=max_new_tokens - 1)
    batch = len(inputs.input_ids)
    fixed = Fixed(read.seen, read.lengths, seeds, *drawing, stop, pad_id)
    ids = _choose(fixed, read.logits, 0, jnp.zeros(batch, bool), cfg, sample)
    tokens = jnp.full((batch, max_new_tokens), pad_id, jnp.int32).at[:, 0].set(ids)
    return fixed, SamplingState(jnp.int32(1), ids, is_one_of(ids, stop), tokens, read.cache)


def _advance(
    variables: dict, fixed: Fixed, state: SamplingState, *, cfg: ModelConfig, sample: bool
) -> SamplingState:
    """Reads the token chosen last and chooses the next."""
    step, size = state.step, fixed.seen.shape[1]
    length = size - (state.tokens.shape[1] - 1)  # of the prompt
    place = length + step - 1  # of the token chosen last
    visible = fixed.seen & (jnp.arange(size) <= place)
    logits, cache = ZiyaVisual(cfg).apply(
        variables, state.ids, fixed.lengths + step - 1, visible, state.cache, place, method="decode"
    )
    ids = _choose(fixed, logits, step, state.ended, cfg, sample)
    ended = state.ended | is_one_of(ids, fixed.stop)
    return SamplingState(step + 1, ids, ended, state.tokens.at[:, step].set(ids), cache)


_start_alone = jit_decode(static_argnums=(6, 7, 8))(_start)
_advance_alone = jit_decode(static_argnames=("cfg", "sample"), donate_argnums=2)(_advance)


def _choose(
    fixed: Fixed,
    logits: Array,
    step: Array | int,
    ended: Array,
    cfg: ModelConfig,
    sample: bool,
) -> Array:
    """int32 [B]: the next token of every row; padding where it has ended."""
    # The placeholder stands for an image in a prompt and never for a word.
    logits = logits.at[:, cfg.image_token_id].set(-jnp.inf)
    if sample:
        keys = jax.vmap(jax.random.key)(fixed.seeds)
        logits = nucleus(logits / fixed.temperature, fixed.top_p, fixed.top_k)
        ids = jax.vmap(jax.random.categorical)(_fold(keys, step), logits)
    else:
        ids = logits.argmax(-1)
    return jnp.where(ended, fixed.pad_id, ids).astype(jnp.int32)


def is_one_of(ids: Array, stop: Array) -> Array:
    """bool [...]: which of `ids` [...] end a row."""
    return (ids[..., None] == stop).any(-1)


def _fold(keys: Array, step: Array | int) -> Array:
    return jax.vmap(jax.random.fold_in, (0, None))(keys, step)


def nucleus(logits: Array, top_p: Array | float, top_k: Array | int = 0) -> Array:
    """Logits [B, V] with -inf outside the nucleus (Holtzman et al. 2020).

    The nucleus is the smallest set of most probable tokens that holds at least `top_p` of the
    probability; it is never empty. With `top_k` above 0 only that many tokens have any probability,
    as in Hugging Face transformers.
    """
    ordered = jnp.sort(logits, axis=-1, descending=True)
    allowed = (jnp.arange(logits.shape[-1]) < top_k) | (jnp.asarray(top_k) == 0)
    ordered = jnp.where(allowed, ordered, -jnp.inf)
    probability = jax.nn.softmax(ordered, axis=-1)
    before = jnp.cumsum(probability, -1) - probability
    inside = allowed & (before < top_p)
    lowest = jnp.where(inside, ordered, jnp.inf).min(-1, keepdims=True)
    return jnp.where(logits >= jnp.minimum(lowest, ordered[:, :1]), logits, -jnp.inf)
