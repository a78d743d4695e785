"""The one attention function of all three towers."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from zv_jax.models.layers import Array

# Large enough to vanish in float32 after the softmax, small enough that a fully masked row stays
# finite (its weights become uniform) instead of NaN.
MASKED = -1e9


def attention_weights(q: Array, k: Array, mask: Array | None) -> Array:
    """Softmax of the scaled scores, computed in float32.

    Args:
        q: [B, T, H, K].
        k: [B, S, G, K]; G divides H, each group of H / G query heads shares a key head.
        mask: bool, broadcastable to [B, T, S], True where attention is allowed; None allows all.

    Returns:
        float32 [B, G, H / G, T, S].
    """
    batch, length, heads, dim = q.shape
    groups = k.shape[2]
    q = q.reshape(batch, length, groups, heads // groups, dim)
    scores = jnp.einsum("BTGRK,BSGK->BGRTS", q, k, preferred_element_type=jnp.float32)
    scores = scores * dim**-0.5
    if mask is not None:
        scores = jnp.where(mask[:, None, None], scores, MASKED)
    return jax.nn.softmax(scores, axis=-1)


def apply_weights(weights: Array, v: Array) -> Array:
    """Weighted sum of the values: [B, G, R, T, S] with [B, S, G, K] -> [B, T, H * K]."""
    out = jnp.einsum("BGRTS,BSGK->BTGRK", weights.astype(v.dtype), v)
    return out.reshape(*out.shape[:2], -1)


def attend(q: Array, k: Array, v: Array, mask: Array | None = None) -> Array:
    """Attention of q [B, T, H, K] over k, v [B, S, G, K] -> [B, T, H * K]; see the parts above.

    On a GPU bfloat16 goes through cuDNN's fused kernel (FlashAttention, Dao et al. 2022), which
    never writes the scores to memory; it takes heads of up to 128 values, in eights, and even
    lengths, so not the 257 tokens of a ViT.
    """
    if not _fused(q, k):
        return apply_weights(attention_weights(q, k, mask), v)
    if mask is not None:
        mask = jnp.broadcast_to(mask, (q.shape[0], q.shape[1], k.shape[1]))[:, None]
    out = jax.nn.dot_product_attention(q, k, v, mask=mask, implementation="cudnn")
    return out.reshape(*out.shape[:2], -1)


def _fused(q: Array, k: Array) -> bool:
    """Whether cuDNN has a kernel; one new token is not worth it."""
    length, dim = q.shape[1], q.shape[-1]
    even = length % 2 == 0 and k.shape[1] % 2 == 0
    fits = q.dtype == jnp.bfloat16 and dim <= 128 and dim % 8 == 0 and even
    return fits and jax.default_backend() == "gpu"


def split_heads(x: Array, heads: int) -> Array:
    """[B, T, H * K] -> [B, T, H, K]."""
    return x.reshape(*x.shape[:-1], heads, -1)
