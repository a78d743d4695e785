"""The Querying Transformer: an image transformer and a text transformer that share self-attention.

A BERT encoder (post-norm). Learned queries and text form one row and share self-attention; queries
also attend to the image in every second layer, and each half has its own feed-forward network. A
mask alone decides which half sees which: paper Figure 2, LAVIS `Blip2Qformer`.
"""

from __future__ import annotations

import flax.linen as nn
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name
from jax.typing import DTypeLike
from jaxtyping import Bool, Float, Float32, Int

from zv_jax.arrays import Array
from zv_jax.models.attention import apply_weights, attend, attention_weights, split_heads
from zv_jax.models.layers import NORMAL, Embed, LayerNorm, Linear, constrain, gelu, scan_layers
from zv_jax.models.presets import QFormerConfig

RowMask = Bool[Array, "B {queries}+T {queries}+T"]
Halves = tuple[Float[Array, "B Q D"] | None, Float[Array, "B T D"] | None]  # queries and text


def bidirectional_mask(queries: int, text_mask: Bool[Array, "B T"]) -> RowMask:
    """ITM and instructions: queries and text see each other; nothing sees padding.

    Args:
        queries: number of queries in the row (0 for text alone: the unimodal text mask of ITC).
        text_mask: True at real tokens.

    Returns:
        True where a row's token (second axis) sees another (third).
    """
    batch, length = text_mask.shape
    seen = jnp.concatenate([jnp.ones((batch, queries), bool), text_mask], 1)
    return jnp.broadcast_to(seen[:, None], (batch, queries + length, queries + length))


def unimodal_mask(queries: int, text_mask: Bool[Array, "B T"]) -> RowMask:
    """ITC: queries see queries, text sees text."""
    is_query = jnp.arange(queries + text_mask.shape[1]) < queries
    same = is_query[:, None] == is_query[None]
    return bidirectional_mask(queries, text_mask) & same


def causal_mask(queries: int, text_mask: Bool[Array, "B T"]) -> RowMask:
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
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
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
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B N D"],
        source: Float[Array, "B S Ds"],
        mask: Bool[Array, "B N S"] | None,
    ) -> Float[Array, "B N D"]:
        """x attends to source."""
        cfg = self.cfg
        kinds = dict(dtype=self.dtype, param_dtype=self.param_dtype)

        def heads(name: str, values: Float[Array, "B S Ds"]) -> Float[Array, "B S H K"]:
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
    """One layer; with `cross` its queries attend to the image."""

    cfg: QFormerConfig
    cross: bool
    deterministic: bool
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        queries: Float[Array, "B Q D"] | None,
        text: Float[Array, "B T D"] | None,
        image: Float[Array, "B P Dv"] | None,
        mask: Bool[Array, "B N N"] | None,
    ) -> Halves:
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
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(
        self,
        carry: Halves,
        image: Float[Array, "B P Dv"] | None,
        mask: Bool[Array, "B N N"] | None,
    ) -> tuple[Halves, None]:
        kinds = dict(
            deterministic=self.deterministic, dtype=self.dtype, param_dtype=self.param_dtype
        )
        queries, text = Layer(self.cfg, cross=True, name="even", **kinds)(*carry, image, mask)
        carry = Layer(self.cfg, cross=False, name="odd", **kinds)(queries, text, image, mask)
        return carry, None


class TextHead(nn.Module):
    """BERT's prediction head; its output layer is tied to the word table."""

    cfg: QFormerConfig
    dtype: DTypeLike
    param_dtype: DTypeLike

    @nn.compact
    def __call__(self, hidden: Float[Array, "B T D"], word: Embed) -> Float32[Array, "B T V"]:
        """Logits of each token; `word` is the table."""
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
    dtype: DTypeLike = jnp.float32
    param_dtype: DTypeLike = jnp.float32

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
        self,
        image: Float[Array, "B P Dv"] | None,
        text_ids: Int[Array, "B T"] | None = None,
        mask: Bool[Array, "B N N"] | None = None,
    ) -> Halves:
        """One pass.

        Args:
            image: image features; None omits the queries (text alone).
            text_ids: None omits the text. Text positions start at 0.
            mask: over the N = Q + T queries and text tokens; None allows all.

        Returns:
            Query outputs and text outputs, None for the half that was omitted.
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

    def _embed(self, x: Float[Array, "B N D"]) -> Float[Array, "B N D"]:
        # Rows stay on their devices; a table sharded along D would spread them by column.
        x = constrain(x, "batch", "length", "act_embed")
        return self.dropout(self.ln(x), deterministic=self.deterministic)

    def text_logits(self, hidden: Float[Array, "B T D"]) -> Float32[Array, "B T V"]:
        """Logits of text outputs over the Q-Former's vocabulary."""
        return self.text_head(hidden, self.word)
