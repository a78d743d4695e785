"""Where the language warm-up starts, so that little training goes a long way."""

from __future__ import annotations

from collections.abc import Mapping

import jax.numpy as jnp

from zv_jax.arrays import Array
from zv_jax.models.presets import LlamaConfig

EMBEDDING_SCALE = 16.0  # 1, 4, 16 and 40 were compared on the quickstart
_LLM = "params/llm/"
_TABLE = _LLM + "embed/embedding"
_VALUE, _OUTPUT = (_LLM + f"layers/attn/{name}/kernel" for name in "vo")


def warm_up_start(leaves: Mapping[str, Array], cfg: LlamaConfig) -> dict[str, Array]:
    """Random leaves of a model, changed where its language model is to learn from nothing.

    Word embeddings start larger than the usual 0.02, at which a token is small beside what the
    first layer adds to it (Takase et al. 2023 scale them too, for stability). Heads start by
    copying: `copying_output`.

    Args:
        leaves: by path, among others "params/llm/embed/embedding" [V, D] and the kernels of
            "params/llm/layers/attn".

    Returns:
        the same leaves, shapes and dtypes; only the table and the output kernels differ.
    """
    return {
        **leaves,
        _TABLE: leaves[_TABLE] * EMBEDDING_SCALE,
        _OUTPUT: copying_output(leaves[_VALUE], cfg),
    }


def copying_output(values: Array, cfg: LlamaConfig) -> Array:
    """Output kernels [L, H * K, D] of attention that undo its value kernels [L, D, G * K].

    Each head then starts out by passing on what it attends to, so that answers can be copied from
    visual tokens long before the model would find that out (mimetic initialisation, Trockman and
    Kolter 2023).
    """
    layers, width, _ = values.shape
    heads = values.reshape(layers, width, cfg.kv_heads, -1).transpose(0, 2, 3, 1)
    return jnp.repeat(heads, cfg.heads // cfg.kv_heads, 1).reshape(layers, -1, width)
