"""The Querying Transformer: an image transformer and a text transformer that share self-attention.

A BERT encoder (post-norm). Learned queries and text are one row; self-attention is shared,
cross-attention to the image (queries only) sits in every second layer, and each half has its own
feed-forward network. Which half sees which is only a mask: paper Figure 2, LAVIS `Blip2Qformer`.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from zv_jax.models.attention import apply_weights, attend, attention_weights, split_heads
from zv_jax.models.layers import (
    NORMAL,
    Array,
    Embed,
    LayerNorm,
    Linear,
    constrain,
    gelu,
    scan_layers,
)
from zv_jax.models.presets import QFormerConfig


def bidirectional_mask(queries: int, text_mask: Array) -> Array:
    """ITM and instructions: queries and text see each other; padding is seen by nobody.

    Args:
        queries: number of queries in the row (0 for text alone: the unimodal text mask of ITC).
        text_mask: bool [B, T], True at real tokens.

    Returns:
        bool [B, Q + T, Q + T], rows look at columns.
    """
    batch, length = text_mask.shape
    seen = jnp.concatenate([jnp.ones((batch, queries), bool), text_mask], 1)
    return jnp.broadcast_to(seen[:, None], (batch, queries + length, queries + length))


def unimodal_mask(queries: int, text_mask: Array) -> Array:
    """ITC: queries see queries, text sees text. Shapes as `bidirectional_mask`."""
    is_query = jnp.arange(queries + text_mask.shape[1]) < queries
    same = is_query[:, None] == is_query[None]
    return bidirectional_mask(queries, text_mask) & same


def causal_mask(queries: int, text_mask: Array) -> Array:
    """ITG, multimodal causal: text sees queries and earlier text, queries see only queries."""
    position = jnp.arange(queries + text_mask.shape[1])
    is_query = position < queries
    earlier = position[None] <= position[:, None]
    allowed = jnp.where(is_query[:, None], is_query[None], is_query[None] | earlier)
    return bidirectional_mask(queries, text_mask) & allowed


class FeedForward(nn.Module):
    """fc2(gelu(fc1 x)) + x, normalised."""

    cfg: QFormerConfig
    deterministic: bool
    dtype: jnp.dtype
    param_dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array) -> Array:
        kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        y = Linear(self.cfg.mlp_width, ("embed", "mlp"), name="fc1", **kinds)(x)
        y = gelu(checkpoint_name(y, "mlp"))
        y = Linear(self.cfg.width, ("mlp", "embed"), name="fc2", **kinds)(y)
        y = nn.Dropout(self.cfg.dropout)(y, deterministic=self.deterministic)
        return LayerNorm(self.cfg.norm_eps, name="ln", **kinds)(x + y)


class Attention(nn.Module):
    """BERT attention with its output projection, residual and norm."""

    cfg: QFormerConfig
    deterministic: bool
    dtype: jnp.dtype
    param_dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Array, source: Array, mask: Array | None) -> Array:
        """Args: x [B, N, D] looks at source [B, S, D'], mask bool [B, N, S] or None."""
        cfg = self.cfg
        kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)

        def heads(name: str, values: Array) -> Array:
            linear = Linear(cfg.width, ("embed", "heads"), name=name, **kinds)
            return split_heads(checkpoint_name(linear(values), "qkv"), cfg.heads)

        q, k, v = heads("q", x), heads("k", source), heads("v", source)
        wanted = self.is_mutable_collection("intermediates")
        if wanted or (cfg.dropout and not self.deterministic):
            weights = attention_weights(q, k, mask)
            self.sow("intermediates", "weights", weights)
            weights = nn.Dropout(cfg.dropout)(weights, deterministic=self.deterministic)
            y = apply_weights(weights, v)
        else:
            y = attend(q, k, v, mask)
        y = Linear(cfg.width, ("heads", "embed"), name="out", **kinds)(y)
        y = nn.Dropout(cfg.dropout)(y, deterministic=self.deterministic)
        return LayerNorm(cfg.norm_eps, name="ln", **kinds)(checkpoint_name(x + y, "residual"))


class Layer(nn.Module):
    """One layer; `cross` says whether its queries look at the image."""

    cfg: QFormerConfig
    cross: bool
    deterministic: bool
    dtype: jnp.dtype
    param_dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, queries: Array | None, text: Array | None, image: Array | None, mask: Array | None
    ) -> tuple[Array | None, Array | None]:
        kinds = dict(
            deterministic=self.deterministic, dtype=self.dtype, param_dtype=self.param_dtype
        )
        parts = [part for part in (queries, text) if part is not None]
        x = parts[0] if len(parts) == 1 else jnp.concatenate(parts, 1)
        x = Attention(self.cfg, name="self", **kinds)(x, x, mask)
        if queries is not None:
            count = queries.shape[1]
            queries, rest = x[:, :count], x[:, count:]
            if self.cross:
                queries = Attention(self.cfg, name="cross", **kinds)(queries, image, None)
            queries = FeedForward(self.cfg, name="ffn_query", **kinds)(queries)
        else:
            rest = x
        if text is not None:
            text = FeedForward(self.cfg, name="ffn_text", **kinds)(rest)
        return queries, text


class LayerPair(nn.Module):
    """Layers 2i (with cross-attention) and 2i + 1: the unit that repeats under the scan."""

    cfg: QFormerConfig
    deterministic: bool
    dtype: jnp.dtype
    param_dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, carry: tuple[Array | None, Array | None], image: Array | None, mask: Array | None
    ) -> tuple[tuple[Array | None, Array | None], None]:
        kinds = dict(
            deterministic=self.deterministic, dtype=self.dtype, param_dtype=self.param_dtype
        )
        queries, text = Layer(self.cfg, cross=True, name="even", **kinds)(*carry, image, mask)
        carry = Layer(self.cfg, cross=False, name="odd", **kinds)(queries, text, image, mask)
        return carry, None


class TextHead(nn.Module):
    """BERT's prediction head; its output layer is tied to the word table."""

    cfg: QFormerConfig
    dtype: jnp.dtype
    param_dtype: jnp.dtype

    @nn.compact
    def __call__(self, hidden: Array, word: Embed) -> Array:
        """hidden [B, T, D] -> float32 logits [B, T, V]."""
        kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        x = gelu(Linear(self.cfg.width, ("embed", "embed_out"), name="dense", **kinds)(hidden))
        # Without this, XLA's partitioner computes wrong gradients on meshes with all three axes.
        x = constrain(x, "batch", "length", "act_embed")
        x = LayerNorm(self.cfg.norm_eps, name="ln", **kinds)(x)
        zeros = nn.with_logical_partitioning(nn.initializers.zeros, ("word",))
        bias = self.param("bias", zeros, (self.cfg.vocab_size,), self.param_dtype)
        return word.attend(x) + bias.astype(jnp.float32)


class QFormer(nn.Module):
    """Queries and text through the shared encoder.

    Parts that a model never calls (the text half in Base) get no parameters.
    """

    cfg: QFormerConfig
    remat: str = "none"
    deterministic: bool = True
    dtype: jnp.dtype = jnp.float32
    param_dtype: jnp.dtype = jnp.float32

    def setup(self) -> None:
        cfg = self.cfg
        kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)
        self.query_tokens = self.param(
            "query_tokens",
            nn.with_logical_partitioning(NORMAL, (None, "queries", "embed")),
            (1, cfg.num_queries, cfg.width),
            self.param_dtype,
        )
        self.word = Embed(cfg.vocab_size, cfg.width, ("word", "embed"), **kinds)
        self.position = Embed(cfg.max_positions, cfg.width, ("position", "embed"), **kinds)
        self.ln = LayerNorm(cfg.norm_eps, **kinds)
        if cfg.pre_proj_dim:
            self.pre_proj = Linear(cfg.pre_proj_dim, ("embed", "embed_out"), **kinds)
        self.dropout = nn.Dropout(cfg.dropout)
        self.pairs = scan_layers(LayerPair, cfg.layers // 2, self.remat, inputs=2)(
            cfg, self.deterministic, **kinds
        )
        self.text_head = TextHead(cfg, **kinds)

    def __call__(
        self, image: Array | None, text_ids: Array | None = None, mask: Array | None = None
    ) -> tuple[Array | None, Array | None]:
        """One pass.

        Args:
            image: image features [B, P, D']; None leaves the queries out (text alone).
            text_ids: int [B, T]; None leaves the text out. Text positions start at 0.
            mask: bool [B, N, N] over the queries followed by the text; None allows all.

        Returns:
            query outputs [B, Q, D] and text outputs [B, T, D], None for what was left out.
        """
        queries = text = None
        if image is not None:
            shape = (image.shape[0], *self.query_tokens.shape[1:])
            queries = jnp.broadcast_to(self.query_tokens, shape).astype(self.dtype)
            queries = self._embed(queries)
            if self.cfg.pre_proj_dim:
                image = self.pre_proj(image)
        if text_ids is not None:
            text = self.word(text_ids) + self.position(jnp.arange(text_ids.shape[1]))
            text = self._embed(text)
        (queries, text), _ = self.pairs((queries, text), image, mask)
        return queries, text

    def _embed(self, x: Array) -> Array:
        # Rows stay where they are; a table split along D would spread them by column.
        x = constrain(x, "batch", "length", "act_embed")
        return self.dropout(self.ln(x), deterministic=self.deterministic)

    def text_logits(self, hidden: Array) -> Array:
        """Text outputs [B, T, D] -> float32 logits [B, T, V] over the Q-Former's vocabulary."""
        return self.text_head(hidden, self.word)
