"""Compiled functions of images and texts without decoding: embeddings, matching, attention."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp

from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual


@functools.partial(jax.jit, static_argnums=(0, 1))
def apply(cfg: ModelConfig, method: str, variables: dict, *arrays: jax.Array) -> jax.Array:
    """A method of the model by its name, in float32."""
    return ZiyaVisual(cfg).apply(variables, *arrays, method=method).astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def match(
    cfg: ModelConfig, variables: dict, images: jax.Array, ids: jax.Array, mask: jax.Array
) -> jax.Array:
    """float32 [B]: logits of the class "match" for pairs."""
    model = ZiyaVisual(cfg)
    features = model.apply(variables, images, method="encode_images")
    return model.apply(variables, features, ids, mask, method="match")[:, 1]


@functools.partial(jax.jit, static_argnums=0)
def attention(
    cfg: ModelConfig,
    variables: dict,
    images: jax.Array,
    ids: jax.Array | None,
    mask: jax.Array | None,
) -> jax.Array:
    """float32 [B, Q, P]: weights of the last cross-attention, mean over the heads."""
    model = ZiyaVisual(cfg)
    features = model.apply(variables, images, method="encode_images")
    _, sown = model.apply(variables, features, ids, mask, method="query", mutable=["intermediates"])
    (weights,) = sown["intermediates"]["qformer"]["pairs"]["even"]["cross"]["weights"]
    return weights[-1].mean((1, 2))  # [pairs, B, heads, 1, Q, P]
