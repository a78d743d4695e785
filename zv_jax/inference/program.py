"""What all decoding has in common: a program that reads the prompts once, then token after token.

Prompts are padded on the left, so that all rows are at the same place at the same step. What a
prompt leaves in the layers is written once and never copied: the beams of a row, its draws or its
candidates share it. What they say themselves has a cache of its own, which grows as it fills: a
step reads and moves no more than twice what there is.

On GPUs these programs are compiled in their own way. The weights of all layers lie in one array,
and each step takes the layers out of it one after the other. XLA's own kernels (Triton) want them
by themselves, so every weight was copied before it was read: three times the traffic, where traffic
is all that a token costs. cuBLAS reads them where they lie. On one H100, with half the layers of
the 13B model, a token of one row took 7.0 ms instead of 14.2, one of 16 rows 10.6 instead of 17.9.
TPUs read them in place anyway; for CPUs see `models/layout.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp

from zv_jax.inference.inputs import Inputs
from zv_jax.models.layers import Array
from zv_jax.models.llama import Layers, grown
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual

ON_GPU = {
    "xla_gpu_enable_triton_gemm": False,
    "xla_gpu_enable_dynamic_slice_fusion": True,
}
SHORTEST = 32  # places of the cache at first: fewer would be one more loop to compile

State = TypeVar("State", bound=Any)


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


class Sequences(NamedTuple):
    """What follows B prompts, C sequences each, the best first where there is a best.

    Attributes:
        tokens: int32 [B, C, max_new_tokens], the id that ends a sequence, then padding.
        scores: float32 [B, C], of a search.
        logprobs: float32 [B, C, max_new_tokens], of the tokens; 0 where padding is.
    """

    tokens: Array
    scores: Array | None = None
    logprobs: Array | None = None


class Prefilled(NamedTuple):
    """Prompts that were read.

    Attributes:
        logits: [B, V] of the next token.
        prompt: what the layers keep of them.
        seen: bool [B, T], true at the prompt's tokens.
        lengths: int32 [B], tokens of the prompt.
    """

    logits: Array
    prompt: Layers
    seen: Array
    lengths: Array


def prefill(variables: dict, inputs: Inputs, *, cfg: ModelConfig) -> Prefilled:
    """Encodes the images once and reads the prompts once: what all decoding begins with.

    Args:
        variables: of `ZiyaVisual`.
        inputs: padded on the left. Images without placeholders in their row are ignored.
        cfg: the architecture.
    """
    model = ZiyaVisual(cfg)
    visual = None
    if inputs.images is not None:
        instruction = inputs.qformer_input_ids, inputs.qformer_attention_mask
        visual = model.apply(variables, inputs.images, *instruction, method="visual_tokens")
    logits, prompt = model.apply(
        variables, visual, inputs.input_ids, inputs.attention_mask, method="prefill"
    )
    seen = inputs.attention_mask.astype(bool)
    return Prefilled(logits, prompt, seen, seen.sum(1, dtype=jnp.int32))


def capacities(places: int) -> tuple[int, ...]:
    """The sizes that a cache of new tokens has until it has `places`: each is twice the last."""
    sizes: list[int] = []
    while places and (not sizes or sizes[-1] < places):
        sizes.append(min(2 * sizes[-1] if sizes else SHORTEST, places))
    return tuple(sizes)


def run(
    advance: Callable[[State], State],
    running: Callable[[State], Array],
    state: State,
    max_new_tokens: int,
) -> State:
    """Advances while `running`, in one loop for each size of the cache.

    Args:
        advance: reads the tokens of step `state.step` - 1 and chooses those of `state.step`.
        running: whether another token is wanted.
        state: has `step`, tokens chosen so far, and `cache`, of all of them but the last.
    """
    # The last token is returned and never read.
    for places in capacities(max_new_tokens - 1):
        state = state._replace(cache=grown(state.cache, places))
        state = jax.lax.while_loop(
            lambda now, places=places: running(now) & (now.step <= places), advance, state
        )
    return state
