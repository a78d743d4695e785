"""The language model: LLaMA with RoPE, RMSNorm, SwiGLU, grouped-query heads and a KV cache.

Touvron et al. 2023; rotary embeddings in the rotate-half layout of Hugging Face checkpoints.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from zv_jax.models.attention import attend, split_heads
from zv_jax.models.layers import (
    Array,
    Embed,
    Linear,
    RMSNorm,
    constrain,
    scan_layers,
)
from zv_jax.models.presets import LlamaConfig, LoraConfig, RopeScaling

Cache = tuple[Array, Array]  # keys and values, each [L, B, S, G, K]


def init_cache(cfg: LlamaConfig, batch: int, length: int, dtype: jnp.dtype) -> Cache:
    """Empty cache for `batch` rows of at most `length` tokens."""
    shape = (cfg.layers, batch, length, cfg.kv_heads, cfg.key_dim)
    return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)


def rope_frequencies(dim: int, theta: float, scaling: RopeScaling) -> Array:
    """Angle per position of each rotated pair, float32 [dim / 2] (Su et al. 2021).

    Stretched for long contexts by position interpolation (Chen et al. 2023) or by the rule of
    Llama 3.1, which `RopeScaling` describes.
    """
    frequency = theta ** (-jnp.arange(0, dim, 2, dtype=jnp.float32) / dim)
    if scaling.kind == "none":
        return frequency
    if scaling.kind == "linear":
        return frequency / scaling.factor
    low, high = scaling.low_freq_factor, scaling.high_freq_factor
    waves = scaling.original_positions * frequency / (2 * jnp.pi)  # in the original context
    kept = jnp.clip((waves - low) / (high - low), 0, 1)
    return frequency * (kept + (1 - kept) / scaling.factor)


def rope_tables(positions: Array, cfg: LlamaConfig) -> tuple[Array, Array]:
    """Cosine and sine [B, T, 1, K] in float32 for positions [B, T]."""
    frequency = rope_frequencies(cfg.key_dim, cfg.rope_theta, cfg.rope_scaling)
    angle = positions[..., None].astype(jnp.float32) * frequency
    angle = jnp.concatenate([angle, angle], -1)[:, :, None]
    return jnp.cos(angle), jnp.sin(angle)


def rotate(x: Array, tables: tuple[Array, Array]) -> Array:
    """Apply the rotary embedding to x [B, T, H, K]; the halves (not the pairs) are rotated."""
    cos, sin = tables
    left, right = jnp.split(x.astype(jnp.float32), 2, -1)
    turned = jnp.concatenate([-right, left], -1)
    return (x.astype(jnp.float32) * cos + turned * sin).astype(x.dtype)


class SelfAttention(nn.Module):
    cfg: LlamaConfig
    lora: LoraConfig
    deterministic: bool
    dtype: jnp.dtype
    param_dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Array, cache: Cache | None, tables: tuple[Array, Array], mask: Array, index: Array
    ) -> tuple[Array, Cache | None]:
        cfg = self.cfg
        common = dict(
            use_bias=cfg.attention_bias,
            lora=self.lora,
            deterministic=self.deterministic,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

        def heads(name: str, count: int) -> Array:
            linear = Linear(count * cfg.key_dim, ("embed", "heads"), name=name, **common)
            return split_heads(linear(x), count)

        q, k, v = heads("q", cfg.heads), heads("k", cfg.kv_heads), heads("v", cfg.kv_heads)
        q, k, v = (checkpoint_name(x, "qkv") for x in (rotate(q, tables), rotate(k, tables), v))
        if cache is not None:
            k = jax.lax.dynamic_update_slice_in_dim(cache[0], k.astype(cache[0].dtype), index, 1)
            v = jax.lax.dynamic_update_slice_in_dim(cache[1], v.astype(cache[1].dtype), index, 1)
            cache = (k, v)
        out = attend(q, k, v, mask)
        return Linear(cfg.width, ("heads", "embed"), name="o", **common)(out), cache


class DecoderLayer(nn.Module):
    cfg: LlamaConfig
    lora: LoraConfig
    deterministic: bool
    dtype: jnp.dtype
    param_dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Array, cache: Cache | None, tables: tuple[Array, Array], mask: Array, index: Array
    ) -> tuple[Array, Cache | None]:
        cfg = self.cfg
        kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        common = dict(lora=self.lora, deterministic=self.deterministic, **kinds)
        linear = dict(use_bias=cfg.mlp_bias, **common)
        y = RMSNorm(cfg.norm_eps, name="ln_attn", **kinds)(x)
        y, cache = SelfAttention(cfg, name="attn", **common)(y, cache, tables, mask, index)
        x = checkpoint_name(x + y, "residual")
        y = RMSNorm(cfg.norm_eps, name="ln_mlp", **kinds)(x)
        gate = Linear(cfg.mlp_width, ("embed", "mlp"), name="gate", **linear)(y)
        up = Linear(cfg.mlp_width, ("embed", "mlp"), name="up", **linear)(y)
        gate, up = checkpoint_name(gate, "mlp"), checkpoint_name(up, "mlp")
        x = x + Linear(cfg.width, ("mlp", "embed"), name="down", **linear)(jax.nn.silu(gate) * up)
        return constrain(x, "batch", "length", "act_embed"), cache


class Llama(nn.Module):
    """Token embeddings in, hidden states out; `logits` is separate so that callers choose where."""

    cfg: LlamaConfig
    lora: LoraConfig = LoraConfig()
    remat: str = "none"
    deterministic: bool = True
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        cfg = self.cfg
        kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        self.embed = Embed(cfg.vocab_size, cfg.width, **kinds)
        self.layers = scan_layers(DecoderLayer, cfg.layers, self.remat, scanned_inputs=1, inputs=3)(
            cfg, self.lora, self.deterministic, **kinds
        )
        self.norm = RMSNorm(cfg.norm_eps, **kinds)
        if not cfg.tie_embeddings:
            self.lm_head = Linear(
                cfg.vocab_size, ("embed", "vocab"), use_bias=False, logits=True, **kinds
            )

    def __call__(
        self,
        embeds: Array,
        positions: Array,
        mask: Array,
        cache: Cache | None = None,
        index: Array | int = 0,
    ) -> tuple[Array, Cache | None]:
        """Run the decoder.

        Args:
            embeds: [B, T, D].
            positions: int [B, T], for the rotary embedding.
            mask: bool [B, T, S] of allowed attention; S is T, or the cache's length.
            cache: keys and values so far, or None.
            index: where in the cache these T tokens go.

        Returns:
            normalised hidden states [B, T, D] and the filled cache (None without one).
        """
        tables = rope_tables(positions, self.cfg)
        # Without this, XLA's partitioner computes wrong values on meshes that use all three axes.
        x = constrain(embeds.astype(self.dtype), "batch", "length", "act_embed")
        x, cache = self.layers(x, cache, tables, mask, jnp.asarray(index))
        return self.norm(x), cache

    def logits(self, hidden: Array) -> Array:
        """Hidden states [..., D] -> float32 logits [..., V]."""
        if self.cfg.tie_embeddings:
            return self.embed.attend(hidden)
        return self.lm_head(hidden)
