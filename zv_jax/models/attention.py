"""The one attention function of all three towers."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32

from zv_jax.arrays import Array

# Large enough to vanish in float32 after the softmax, small enough that a fully masked row stays
# finite (its weights become uniform) instead of NaN.
MASKED = -1e9


class KeysValues(NamedTuple):
    """Keys and values of tokens in a layer, or with a leading axis in a stack of layers.

    The tokens of one head are contiguous, so that a later token reads them without gaps.
    """

    keys: Float[Array, "*L B G S K"]
    values: Float[Array, "*L B G S K"]


def attention_weights(
    q: Float[Array, "B T H K"], k: Float[Array, "B S G K"], mask: Bool[Array, "#B #T #S"] | None
) -> Float32[Array, "B G H/G T S"]:
    """Softmax of the scaled scores, computed in float32.

    Args:
        q: queries.
        k: keys; G divides H, and each group of H / G query heads shares a key head.
        mask: True where attention is allowed; None allows all.
    """
    batch, length, heads, dim = q.shape
    groups = k.shape[2]
    q = q.reshape(batch, length, groups, heads // groups, dim)
    scores = jnp.einsum("BTGRK,BSGK->BGRTS", q, k, preferred_element_type=jnp.float32)
    scores = scores * dim**-0.5
    if mask is not None:
        scores = jnp.where(mask[:, None, None], scores, MASKED)
    return jax.nn.softmax(scores, axis=-1)


def apply_weights(
    weights: Float32[Array, "B G N T S"], v: Float[Array, "B S G K"]
) -> Float[Array, "B T G*N*K"]:
    """Weighted sum of the values; N query heads share a value head."""
    out = jnp.einsum("BGRTS,BSGK->BTGRK", weights.astype(v.dtype), v)
    return out.reshape(*out.shape[:2], -1)


def attend(
    q: Float[Array, "B T H K"],
    k: Float[Array, "B S G K"],
    v: Float[Array, "B S G K"],
    mask: Bool[Array, "#B #T #S"] | None = None,
    causal: bool = False,
) -> Float[Array, "B T H*K"]:
    """Attention of q over k and v; arguments as in `attention_weights`.

    On a GPU bfloat16 goes through cuDNN's fused kernel (FlashAttention, Dao et al. 2022), which
    never writes the scores to memory; it takes heads of up to 128 values, in eights. Causality it
    knows by itself, and leaves out the half that nobody sees; with any other mask it reads one
    from memory, and takes even lengths only.

    Args:
        causal: every token sees those up to itself, of as many keys as queries; instead of a mask.
    """
    if not _fused(q, k, mask):
        seen = upto_itself(q.shape[1]) if causal else mask
        return apply_weights(attention_weights(q, k, seen), v)
    if mask is not None:
        mask = jnp.broadcast_to(mask, (q.shape[0], q.shape[1], k.shape[1]))[:, None]
    out = jax.nn.dot_product_attention(q, k, v, mask=mask, is_causal=causal, implementation="cudnn")
    return out.reshape(*out.shape[:2], -1)


def upto_itself(length: int) -> Bool[Array, "1 {length} {length}"]:
    """True where a token is not before the other."""
    place = jnp.arange(length)
    return (place[None] <= place[:, None])[None]


def attend_after(
    q: Float[Array, "BC T H K"],
    prompt: KeysValues,
    new: KeysValues,
    seen: Bool[Array, "B P"],
    mask: Bool[Array, "#BC #T N"],
) -> Float[Array, "BC T H*K"]:
    """Attention over a prompt that several rows share, and over the later tokens of each row.

    One softmax covers both parts. The prompt's keys are read once for all C rows that continue it,
    and never copied or moved.

    Args:
        q: of B * C rows; the C rows of a prompt are consecutive.
        prompt: [B, G, P, K].
        new: [B * C, G, N, K].
        seen: True at the prompt's tokens.
        mask: which of `new` each query sees.
    """
    rows, length, heads, dim = q.shape
    batch, groups, places, _ = prompt.keys.shape
    each, ratio = rows // batch, heads // groups
    exact = dict(preferred_element_type=jnp.float32)
    # [B * C, G, T * R, K], and the same for all rows of a prompt together: [B, G, C * T * R, K].
    q = q.reshape(rows, length, groups, ratio, dim).swapaxes(1, 2).reshape(rows, groups, -1, dim)
    together = _together(q, batch)
    far = jnp.einsum("BGXK,BGPK->BGXP", together, prompt.keys, **exact) * dim**-0.5
    far = jnp.where(seen[:, None, None], far, MASKED)
    near = jnp.einsum("NGXK,NGSK->NGXS", q, new.keys, **exact) * dim**-0.5
    near = near.reshape(rows, groups, length, ratio, -1)
    near = jnp.where(mask[:, None, :, None], near, MASKED).reshape(rows, groups, length * ratio, -1)

    highest = jnp.maximum(_apart(far.max(-1, keepdims=True), each), near.max(-1, keepdims=True))
    far, near = jnp.exp(far - _together(highest, batch)), jnp.exp(near - highest)
    total = _apart(far.sum(-1, keepdims=True), each) + near.sum(-1, keepdims=True)
    dtype = prompt.values.dtype
    out = jnp.einsum("BGXP,BGPK->BGXK", far.astype(dtype), prompt.values, **exact)
    out = _apart(out, each)
    out += jnp.einsum("NGXS,NGSK->NGXK", near.astype(dtype), new.values, **exact)
    out = (out / total).astype(dtype).reshape(rows, groups, length, ratio * dim)
    return out.swapaxes(1, 2).reshape(rows, length, -1)


def _together(x: Float[Array, "BC G X K"], batch: int) -> Float[Array, "{batch} G CX K"]:
    """The C rows of each prompt as one row: [B * C, G, X, K] -> [B, G, C * X, K]."""
    _, groups, _, dim = x.shape
    x = x.reshape(batch, -1, groups, *x.shape[2:]).swapaxes(1, 2)
    return x.reshape(batch, groups, -1, dim)


def _apart(x: Float[Array, "B G CX K"], each: int) -> Float[Array, "B*{each} G CX//{each} K"]:
    """Undoes `_together`: [B, G, C * X, K] -> [B * C, G, X, K]."""
    batch, groups, _, dim = x.shape
    x = x.reshape(batch, groups, each, -1, dim).swapaxes(1, 2)
    return x.reshape(batch * each, groups, -1, dim)


def _fused(q: Array, k: Array, mask: Array | None) -> bool:
    """Whether cuDNN has a kernel; one new token is not worth it."""
    length, dim = q.shape[1], q.shape[-1]
    # The gradient of what is added to the scores needs even lengths, and a mask is added to them.
    lengths = length > 1 and (mask is None or (length % 2 == 0 and k.shape[1] % 2 == 0))
    fits = q.dtype == jnp.bfloat16 and dim <= 128 and dim % 8 == 0 and lengths
    return fits and jax.default_backend() == "gpu"


def split_heads(x: Float[Array, "B T D"], heads: int) -> Float[Array, "B T {heads} K"]:
    """The heads of a projection, side by side in D, as an axis of their own."""
    return x.reshape(*x.shape[:-1], heads, -1)
