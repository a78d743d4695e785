"""Compiled functions of images and texts that do not decode: embeddings, matching, attention."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array
from jaxtyping import Bool, Float32, Int, Shaped

from zv_jax.models.presets import ModelConfig
from zv_jax.models.vit import Images
from zv_jax.models.ziya_visual import ZiyaVisual


@functools.partial(jax.jit, static_argnums=(0, 1))
def apply(
    cfg: ModelConfig, method: str, variables: dict, *arrays: Shaped[Array, " ..."] | None
) -> Float32[Array, " ..."]:
    """The result of a method of the model, called by name."""
    return ZiyaVisual(cfg).apply(variables, *arrays, method=method).astype(jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def match(
    cfg: ModelConfig,
    variables: dict,
    images: Images,
    ids: Int[Array, "B T"],
    mask: Bool[Array, "B T"],
) -> Float32[Array, " B"]:
    """Logits of the class "match" for pairs."""
    model = ZiyaVisual(cfg)
    features = model.apply(variables, images, method="encode_images")
    return model.apply(variables, features, ids, mask, method="match")[:, 1]


@functools.partial(jax.jit, static_argnums=0)
def attention(
    cfg: ModelConfig,
    variables: dict,
    images: Images,
    ids: Int[Array, "B S"] | None,
    mask: Bool[Array, "B S"] | None,
) -> Float32[Array, "B Q P"]:
    """Weights of the last cross-attention, averaged over the heads."""
    model = ZiyaVisual(cfg)
    features = model.apply(variables, images, method="encode_images")
    _, sown = model.apply(variables, features, ids, mask, method="query", mutable=["intermediates"])
    (weights,) = sown["intermediates"]["qformer"]["pairs"]["even"]["cross"]["weights"]
    return weights[-1].mean((1, 2))  # [pairs, B, heads, 1, Q, P]
