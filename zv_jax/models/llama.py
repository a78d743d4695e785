"""The language model: LLaMA with RoPE, RMSNorm, SwiGLU, grouped-query heads and a KV cache.

Touvron et al. 2023; rotary embeddings in the rotate-half layout of Hugging Face checkpoints.
"""

from __future__ import annotations

import functools
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from zv_jax.models.attention import KeysValues, attend, attend_after, split_heads
from zv_jax.models.layers import (
    Array,
    Embed,
    Linear,
    OneByOne,
    RMSNorm,
    constrain,
    scan_layers,
)
from zv_jax.models.presets import LlamaConfig, LoraConfig, RopeScaling

Layers = KeysValues | tuple[KeysValues, ...]
"""What all layers keep: one stack [L, ...], or one of each layer where they are laid out so."""


class Cache(NamedTuple):
    """What the language model has read: prompts, and what follows each of them in C rows.

    Attributes:
        prompt: [B, G, P, K] of each layer; written once.
        seen: bool [B, P], the prompt's tokens.
        new: [B * C, G, N, K] of each layer; the C rows of a prompt one after the other.
    """

    prompt: Layers
    seen: Array
    new: Layers


def empty_cache(prompt: Layers, seen: Array, each: int, places: int) -> Cache:
    """Room for `places` tokens of `each` rows after every prompt."""

    def room(kept: Array) -> Array:
        *layers, batch, groups, _, dim = kept.shape
        return jnp.zeros((*layers, batch * each, groups, places, dim), kept.dtype)

    return Cache(prompt, seen, jax.tree.map(room, prompt))


def grown(cache: Cache, places: int) -> Cache:
    """The same with room for `places` new tokens, at least as many as before."""

    def grow(kept: Array) -> Array:
        more = [(0, 0)] * kept.ndim
        more[-2] = (0, places - kept.shape[-2])
        return jnp.pad(kept, more)

    return cache._replace(new=jax.tree.map(grow, cache.new))


class Past(NamedTuple):
    """What one layer has kept, or a stack of them; without a prompt, nothing yet."""

    prompt: KeysValues | None = None
    new: KeysValues | None = None


class Place(NamedTuple):
    """Where in `Cache.new` the tokens go that are read now.

    Attributes:
        seen: see `Cache`.
        index: int, the place of the first of them.
        parents: int [B, C], which row of its prompt each row goes on from; None: from itself.
    """

    seen: Array
    index: Array
    parents: Array | None


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
        self,
        x: Array,
        past: Past | None,
        tables: tuple[Array, Array],
        mask: Array,
        place: Place | None,
    ) -> tuple[Array, KeysValues | None]:
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
        kept = None
        if past is not None:
            kept = KeysValues(k.swapaxes(1, 2), v.swapaxes(1, 2))
        if place is None:
            out = attend(q, k, v, mask)
        else:
            kept = _append(past.new, kept, place)
            out = attend_after(q, past.prompt, kept, place.seen, mask)
        return Linear(cfg.width, ("heads", "embed"), name="o", **common)(out), kept


def _append(new: KeysValues, read: KeysValues, place: Place) -> KeysValues:
    """`new` [B * C, G, N, K] with `read` [B * C, G, T, K] at its place."""

    def write(kept: Array, fresh: Array) -> Array:
        if place.parents is not None:
            batch, each = place.parents.shape
            rows = kept.reshape(batch, each, *kept.shape[1:])
            rows = jnp.take_along_axis(rows, place.parents[:, :, None, None, None], 1)
            kept = rows.reshape(kept.shape)
        return jax.lax.dynamic_update_slice_in_dim(kept, fresh.astype(kept.dtype), place.index, 2)

    return jax.tree.map(write, new, read)


class DecoderLayer(nn.Module):
    cfg: LlamaConfig
    lora: LoraConfig
    deterministic: bool
    dtype: jnp.dtype
    param_dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x: Array,
        past: Past | None,
        tables: tuple[Array, Array],
        mask: Array,
        place: Place | None,
    ) -> tuple[Array, KeysValues | None]:
        cfg = self.cfg
        kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        common = dict(lora=self.lora, deterministic=self.deterministic, **kinds)
        linear = dict(use_bias=cfg.mlp_bias, **common)
        y = RMSNorm(cfg.norm_eps, name="ln_attn", **kinds)(x)
        y, kept = SelfAttention(cfg, name="attn", **common)(y, past, tables, mask, place)
        x = checkpoint_name(x + y, "residual")
        y = RMSNorm(cfg.norm_eps, name="ln_mlp", **kinds)(x)
        gate = Linear(cfg.mlp_width, ("embed", "mlp"), name="gate", **linear)(y)
        up = Linear(cfg.mlp_width, ("embed", "mlp"), name="up", **linear)(y)
        gate, up = checkpoint_name(gate, "mlp"), checkpoint_name(up, "mlp")
        x = x + Linear(cfg.width, ("mlp", "embed"), name="down", **linear)(jax.nn.silu(gate) * up)
        return constrain(x, "batch", "length", "act_embed"), kept


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
        layer = cfg, self.lora, self.deterministic
        self.one_by_one = "0" in self.variables.get("params", {}).get("layers", {})
        if self.one_by_one:
            self.layers = OneByOne(functools.partial(DecoderLayer, *layer, **kinds), cfg.layers)
        else:
            stack = scan_layers(DecoderLayer, cfg.layers, self.remat, scanned_inputs=1, inputs=3)
            self.layers = stack(*layer, **kinds)
        self.norm = RMSNorm(cfg.norm_eps, **kinds)
        if not cfg.tie_embeddings:
            self.lm_head = Linear(
                cfg.vocab_size, ("embed", "vocab"), use_bias=False, logits=True, **kinds
            )

    def __call__(self, embeds: Array, positions: Array, mask: Array) -> Array:
        """Run the decoder.

        Args:
            embeds: [B, T, D].
            positions: int [B, T], for the rotary embedding.
            mask: bool [B, T, T] of allowed attention.

        Returns:
            normalised hidden states [B, T, D].
        """
        return self._run(embeds, positions, mask, None, None)[0]

    def read(self, embeds: Array, positions: Array, mask: Array) -> tuple[Array, Layers]:
        """The same, and what later tokens need of it: [B, G, T, K] of each layer."""
        return self._run(embeds, positions, mask, Past(), None)

    def read_on(
        self,
        embeds: Array,
        positions: Array,
        mask: Array,
        cache: Cache,
        index: Array | int,
        parents: Array | None = None,
    ) -> tuple[Array, Cache]:
        """Reads on after prompts.

        Args:
            embeds: [B * C, T, D].
            positions: int [B * C, T], counted from the prompt's beginning.
            mask: bool, broadcastable to [B * C, T, N]: which of the new tokens are seen.
            cache: of all that was read.
            index: where in `cache.new` these T tokens go.
            parents: int [B, C], which row of its prompt each row goes on from; None: from itself.

        Returns:
            normalised hidden states [B * C, T, D] and the cache with these tokens.
        """
        place = Place(cache.seen, jnp.asarray(index), parents)
        past = Past(cache.prompt, cache.new)
        hidden, new = self._run(embeds, positions, mask, past, place)
        return hidden, cache._replace(new=new)

    def _run(
        self, embeds: Array, positions: Array, mask: Array, past: Past | None, place: Place | None
    ) -> tuple[Array, Layers | None]:
        tables = rope_tables(positions, self.cfg)
        # Without this, XLA's partitioner computes wrong values on meshes that use all three axes.
        x = constrain(embeds.astype(self.dtype), "batch", "length", "act_embed")
        if self.one_by_one:
            past = _each(past, self.cfg.layers)
        x, kept = self.layers(x, past, tables, mask, place)
        return self.norm(x), kept

    def logits(self, hidden: Array) -> Array:
        """Hidden states [..., D] -> float32 logits [..., V]."""
        if self.cfg.tie_embeddings:
            return self.embed.attend(hidden)
        return self.lm_head(hidden)


def _each(past: Past | None, layers: int) -> tuple[Past | None, ...]:
    """What each layer has kept, where the layers are laid out one by one."""
    if past is None or past.prompt is None:
        return (past,) * layers
    return tuple(map(Past, past.prompt, past.new))
