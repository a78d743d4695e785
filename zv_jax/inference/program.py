"""Shared by all decoding: a program that reads the prompts once, then token after token.

Prompts are padded on the left, so all rows are at the same place at each step. Keys and values of a
prompt are written once and never copied: the beams, draws or candidates of a row share them. Their
new tokens have a separate cache, which grows as it fills: a step reads and moves at most twice its
contents.

On GPUs these programs need other compiler options. The weights of all layers are one array, from
which each step slices one layer after the other. XLA's Triton kernels need each slice as an array,
so every weight was copied before it was read: three times the memory traffic, which dominates the
cost of a token. cuBLAS reads slices in place. On one H100, with half the layers of the 13B model, a
token of one row took 7.0 ms instead of 14.2, one of 16 rows 10.6 ms instead of 17.9. TPUs read
slices in place anyway; for CPUs see `models/layout.py`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Bool, Float32, Int, Int32, UInt32

from zv_jax.arrays import Array
from zv_jax.inference.inputs import Inputs
from zv_jax.models.llama import Layers, grown
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual

ON_GPU = {
    "xla_gpu_enable_triton_gemm": False,
    "xla_gpu_enable_dynamic_slice_fusion": True,
}
SHORTEST = 32  # initial places of the cache: fewer would add a loop to compile

Ids = Int[Array, " N"]
Seeds = UInt32[Array, "B C"]
State = TypeVar("State", bound=Any)


def compiler_options() -> dict[str, bool] | None:
    """Those of programs that decode, for the devices at hand."""
    return ON_GPU if jax.default_backend() == "gpu" else None


def compiled(function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """The program for arguments of these shapes; it refuses others. `options` are of `jax.jit`."""
    options["compiler_options"] = compiler_options()
    return jax.jit(function, **options).lower(*arguments).compile()


def cache_sharding(mesh: Mesh, leaf: jax.ShapeDtypeStruct) -> NamedSharding:
    """Where a leaf of the state of rows that decode goes: the heads of keys and values [..., H, T,
    K] where those of the weights are, all else to every device."""
    heads = (*[None] * (leaf.ndim - 3), "tensor") if leaf.ndim > 3 else ()
    return NamedSharding(mesh, PartitionSpec(*heads))


def jit_decode(**settings: Any) -> Callable[[Callable], Callable]:
    """`jax.jit(**settings)`, on GPUs with the compiler options above.

    It looks up the devices on the first call, not on import: the look-up initialises them, and a
    process of a multi-process run must join the others before that.
    """

    def decorate(function: Callable) -> Callable:
        @functools.cache
        def program() -> Callable:
            return jax.jit(function, compiler_options=compiler_options(), **settings)

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            return program()(*args, **kwargs)

        return call

    return decorate


class Sequences(NamedTuple):
    """C sequences that continue each of B prompts, best first after a search; T is max_new_tokens.

    Attributes:
        tokens: with the id that ends a sequence, then padding.
        scores: of a search.
        logprobs: of the tokens; 0 at padding.
    """

    tokens: Int32[Array, "B C T"]
    scores: Float32[Array, "B C"] | None = None
    logprobs: Float32[Array, "B C T"] | None = None


class Prefilled(NamedTuple):
    """The state after reading prompts.

    Attributes:
        logits: of the next token.
        prompt: keys and values of the layers.
        seen: True at the prompt's tokens.
        lengths: tokens of the prompt.
    """

    logits: Float32[Array, "B V"]
    prompt: Layers
    seen: Bool[Array, "B T"]
    lengths: Int32[Array, " B"]


def prefill(variables: dict, inputs: Inputs, *, cfg: ModelConfig) -> Prefilled:
    """Encodes the images and reads the prompts, each once: the first step of all decoding.

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
    """The sizes of a cache of new tokens up to `places`: each is twice the previous one."""
    sizes: list[int] = []
    while places and (not sizes or sizes[-1] < places):
        sizes.append(min(2 * sizes[-1] if sizes else SHORTEST, places))
    return tuple(sizes)


def run(
    advance: Callable[[State], State],
    running: Callable[[State], Bool[Array, ""]],
    state: State,
    max_new_tokens: int,
) -> State:
    """Advances while `running`, in one loop for each size of the cache.

    Args:
        advance: reads the tokens of step `state.step` - 1 and chooses those of `state.step`.
        running: whether to choose another token.
        state: has `step`, tokens chosen so far, and `cache`, of all but the latest of them.
    """
    # The last token is returned without being read.
    for places in capacities(max_new_tokens - 1):
        state = state._replace(cache=grown(state.cache, places))

        def fits(now: State, places: int = places) -> Bool[Array, ""]:
            return running(now) & (now.step <= places)

        state = jax.lax.while_loop(fits, advance, state)
    return state
