"""FLOPs of one forward pass of each tower, computed from its configuration.

A product of [m, k] and [k, n] counts 2 m k n. Everything but matrix products is ignored: norms,
activations, rotations and softmax are about 1 % of a tower. Padding counts: shapes are static.
"""

from __future__ import annotations

from typing import NamedTuple

from zv_jax.models.presets import LlamaConfig, LoraConfig, QFormerConfig, VisionConfig


class Flops(NamedTuple):
    """FLOPs of a forward pass: products with weights, and attention scores and values."""

    linear: float
    attention: float = 0.0

    def __add__(self, other: Flops) -> Flops:  # type: ignore[override]
        return Flops(self.linear + other.linear, self.attention + other.attention)

    def times(self, count: float) -> Flops:
        """FLOPs of `count` such passes."""
        return Flops(self.linear * count, self.attention * count)


def patches(v: VisionConfig) -> int:
    """Patches per image."""
    return (v.image_size // v.patch_size) ** 2


def patch_embedding(v: VisionConfig) -> float:
    """The projection of the patches of one image."""
    return 2.0 * patches(v) * 3 * v.patch_size**2 * v.width


def vision(v: VisionConfig) -> Flops:
    """One image through the ViT."""
    tokens = patches(v) + 1
    linear = v.layers * tokens * (8 * v.width**2 + 4 * v.width * v.mlp_width)
    return Flops(linear + patch_embedding(v), 4.0 * v.layers * tokens**2 * v.width)


def qformer(q: QFormerConfig, v: VisionConfig, queries: int, text: int) -> Flops:
    """One row of `queries` queries and `text` tokens; with queries it reads one image."""
    tokens = queries + text
    linear = q.layers * tokens * (8.0 * q.width**2 + 4 * q.width * q.mlp_width)
    attention = 4.0 * q.layers * tokens**2 * q.width
    if queries:
        width = q.pre_proj_dim or v.width
        crossed = q.layers // 2
        linear += crossed * (4 * q.width**2 * queries + 4 * width * q.width * v.tokens)
        linear += 2 * v.width * q.pre_proj_dim * v.tokens
        attention += 4.0 * crossed * queries * v.tokens * q.width
    return Flops(linear, attention)


def llama_token(m: LlamaConfig) -> int:
    """One token through all layers, without attention scores."""
    read, kept = m.heads * m.key_dim, m.kv_heads * m.key_dim
    layer = 2 * m.width * read + 2 * m.width * kept + 3 * m.width * m.mlp_width
    return 2 * m.layers * layer


def llama(m: LlamaConfig, length: int, labelled: int) -> Flops:
    """One row of `length` tokens, causal, with logits at `labelled` of its positions."""
    head = 2.0 * m.width * m.vocab_size * labelled
    attention = 2.0 * m.layers * length**2 * m.heads * m.key_dim
    return Flops(llama_token(m) * length + head, attention)


def adapters(v: VisionConfig, m: LlamaConfig, lora: LoraConfig, images: int, length: int) -> Flops:
    """The low-rank branches of `presets.CHAT_LORA`; other targets change little."""
    read, kept = m.heads * m.key_dim, m.kv_heads * m.key_dim
    eyes = v.layers * (patches(v) + 1) * images * 4 * v.width
    words = m.layers * length * (2 * m.width + read + kept)
    return Flops(2.0 * lora.rank * (eyes + words))
