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
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Float32, Int

from zv_jax.arrays import Array
from zv_jax.models.attention import KeysValues, attend, attend_after, split_heads
from zv_jax.models.layers import Embed, Linear, OneByOne, RMSNorm, constrain, scan_layers
from zv_jax.models.presets import LlamaConfig, LoraConfig, RopeScaling

RopeTables = tuple[Float32[Array, "B T 1 K"], Float32[Array, "B T 1 K"]]  # cosine and sine
Layers = KeysValues | tuple[KeysValues, ...]
"""Keys and values of all layers: one stack [L, ...], or one entry for each layer (see `layout`)."""


class Cache(NamedTuple):
    """What the language model has read: B prompts, and C rows that continue each of them.

    Attributes:
        prompt: [B, G, P, K] of each layer; written once.
        seen: True at the prompt's tokens.
        new: [B * C, G, N, K] of each layer; the C rows of a prompt are consecutive.
    """

    prompt: Layers
    seen: Bool[Array, "B P"]
    new: Layers


def empty_cache(prompt: Layers, seen: Bool[Array, "B P"], each: int, places: int) -> Cache:
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
    """Keys and values that one layer, or a stack of them, has kept; empty before a prompt."""

    prompt: KeysValues | None = None
    new: KeysValues | None = None


class Place(NamedTuple):
    """Where in `Cache.new` the tokens go that are being read.

    Attributes:
        seen: see `Cache`.
        index: the place of the first of them, in all rows or in each.
        parents: the row of its prompt that each row continues; None: itself.
    """

    seen: Bool[Array, "B P"]
    index: Int[Array, ""] | Int[Array, " BC"]
    parents: Int[Array, "B C"] | None


def rope_frequencies(dim: int, theta: float, scaling: RopeScaling) -> Float32[Array, " {dim}//2"]:
    """Angle per position of each rotated pair (Su et al. 2021).

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


def rope_tables(positions: Int[Array, "B T"], cfg: LlamaConfig) -> RopeTables:
    """Cosine and sine of the angles of every position."""
    frequency = rope_frequencies(cfg.key_dim, cfg.rope_theta, cfg.rope_scaling)
    angle = positions[..., None].astype(jnp.float32) * frequency
    angle = jnp.concatenate([angle, angle], -1)[:, :, None]
    return jnp.cos(angle), jnp.sin(angle)


def rotate(x: Float[Array, "B T H K"], tables: RopeTables) -> Float[Array, "B T H K"]:
    """Applies the rotary embedding to x; it rotates halves, not neighbouring pairs."""
    cos, sin = tables
    left, right = jnp.split(x.astype(jnp.float32), 2, -1)
    turned = jnp.concatenate([-right, left], -1)
    return (x.astype(jnp.float32) * cos + turned * sin).astype(x.dtype)


class SelfAttention(nn.Module):
    cfg: LlamaConfig
    lora: LoraConfig
    deterministic: bool
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        past: Past | None,
        tables: RopeTables,
        mask: Bool[Array, "#B #T S"] | None,
        place: Place | None,
    ) -> tuple[Float[Array, "B T D"], KeysValues | None]:
        cfg = self.cfg
        common = dict(
            use_bias=cfg.attention_bias,
            lora=self.lora,
            deterministic=self.deterministic,
            dtype=self.dtype,
            param_dtype=self.param_dtype,
        )

        def heads(name: str, count: int) -> Float[Array, "B T {count} K"]:
            linear = Linear(count * cfg.key_dim, ("embed", "heads"), name=name, **common)
            return split_heads(linear(x), count)

        q, k, v = heads("q", cfg.heads), heads("k", cfg.kv_heads), heads("v", cfg.kv_heads)
        q, k, v = (checkpoint_name(x, "qkv") for x in (rotate(q, tables), rotate(k, tables), v))
        kept = None
        if past is not None:
            kept = KeysValues(k.swapaxes(1, 2), v.swapaxes(1, 2))
        if place is None:
            out = attend(q, k, v, mask, causal=mask is None)
        else:
            kept = _append(past.new, kept, place)
            out = attend_after(q, past.prompt, kept, place.seen, mask)
        return Linear(cfg.width, ("heads", "embed"), name="o", **common)(out), kept


def _append(new: KeysValues, read: KeysValues, place: Place) -> KeysValues:
    """`new` [B * C, G, N, K], with `read` [B * C, G, T, K] written at its place."""

    def write(kept: Array, fresh: Array) -> Array:
        if place.parents is not None:
            batch, each = place.parents.shape
            rows = kept.reshape(batch, each, *kept.shape[1:])
            rows = jnp.take_along_axis(rows, place.parents[:, :, None, None, None], 1)
            kept = rows.reshape(kept.shape)
        fresh = fresh.astype(kept.dtype)
        if not place.index.ndim:
            return jax.lax.dynamic_update_slice_in_dim(kept, fresh, place.index, 2)
        return jax.vmap(lambda row, new, at: jax.lax.dynamic_update_slice_in_dim(row, new, at, 1))(
            kept, fresh, place.index
        )

    return jax.tree.map(write, new, read)


class DecoderLayer(nn.Module):
    cfg: LlamaConfig
    lora: LoraConfig
    deterministic: bool
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        past: Past | None,
        tables: RopeTables,
        mask: Bool[Array, "#B #T S"] | None,
        place: Place | None,
    ) -> tuple[Float[Array, "B T D"], KeysValues | None]:
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
    """Token embeddings in, hidden states out; callers choose where `logits` are computed."""

    cfg: LlamaConfig
    lora: LoraConfig = LoraConfig()
    remat: str = "none"
    deterministic: bool = True
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

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

    def __call__(
        self,
        embeds: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        mask: Bool[Array, "B T T"] | None,
    ) -> Float[Array, "B T D"]:
        """Normalised hidden states.

        Args:
            embeds: of the tokens.
            positions: for the rotary embedding.
            mask: True where attention is allowed; None: every token sees those up to itself.
        """
        return self._run(embeds, positions, mask, None, None)[0]

    def read(
        self,
        embeds: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        mask: Bool[Array, "B T T"],
    ) -> tuple[Float[Array, "B T D"], Layers]:
        """The same, and keys and values for later tokens: [B, G, T, K] of each layer."""
        return self._run(embeds, positions, mask, Past(), None)

    def read_on(
        self,
        embeds: Float[Array, "BC T D"],
        positions: Int[Array, "BC T"],
        mask: Bool[Array, "#BC #T N"],
        cache: Cache,
        index: Int[Array, " BC"] | Int[Array, ""] | int,
        parents: Int[Array, "B C"] | None = None,
    ) -> tuple[Float[Array, "BC T D"], Cache]:
        """Reads on after prompts.

        Args:
            embeds: of B * C rows.
            positions: counted from the start of the prompt.
            mask: which of the new tokens each of these T sees.
            cache: of everything read so far.
            index: where in `cache.new` these T tokens go, in all rows or in each.
            parents: the row of its prompt that each row continues; None: itself.

        Returns:
            Normalised hidden states, and the cache with these tokens.
        """
        place = Place(cache.seen, jnp.asarray(index), parents)
        past = Past(cache.prompt, cache.new)
        hidden, new = self._run(embeds, positions, mask, past, place)
        return hidden, cache._replace(new=new)

    def _run(
        self,
        embeds: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        mask: Bool[Array, "#B #T S"] | None,
        past: Past | None,
        place: Place | None,
    ) -> tuple[Float[Array, "B T D"], Layers | tuple[None, ...] | None]:
        tables = rope_tables(positions, self.cfg)
        # Without this, XLA's partitioner computes wrong values on meshes that use all three axes.
        x = constrain(embeds.astype(self.dtype), "batch", "length", "act_embed")
        if self.one_by_one:
            past = _each(past, self.cfg.layers)
        x, kept = self.layers(x, past, tables, mask, place)
        return self.norm(x), kept

    def logits(self, hidden: Float[Array, "*B D"]) -> Float32[Array, "*B {self.cfg.vocab_size}"]:
        """Logits of the next token."""
        if self.cfg.tie_embeddings:
            return self.embed.attend(hidden)
        return self.lm_head(hidden)


def _each(past: Past | None, layers: int) -> tuple[Past | None, ...]:
    """The past of each layer, for layers that are separate."""
    if past is None or past.prompt is None:
        return (past,) * layers
    return tuple(map(Past, past.prompt, past.new))
