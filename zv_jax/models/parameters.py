"""The parameters that a use of a model needs: their shapes and axes, or random values.

Modules create parameters when first called, so a function that uses a model shows which parameters
that use needs. The function is traced; its results are discarded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding
from jaxtyping import Bool, Int

from zv_jax import trees
from zv_jax.arrays import Array
from zv_jax.models.axes import leaf_shardings, unboxed
from zv_jax.models.presets import ModelConfig
from zv_jax.models.vit import Images
from zv_jax.models.ziya_visual import ZiyaVisual

FlatParams = dict[str, Array]
Use = Callable[..., Any]  # of a bound model and its inputs


def answers(
    model: ZiyaVisual, images: Images, ids: Int[Array, "B T"], mask: Bool[Array, "B T"]
) -> None:
    """Answers about an image, given text for the language model and for the Q-Former."""
    model(images[:, None], ids, mask, ids, mask)


def retrieval(
    model: ZiyaVisual, images: Images, ids: Int[Array, "B T"], mask: Bool[Array, "B T"]
) -> None:
    """Embeds an image and a text, and matches them: what ranks candidates."""
    model.image_embed(images)
    model.text_embed(ids, mask)
    model.match(model.encode_images(images), ids, mask)


def comparisons(
    model: ZiyaVisual, images: Images, ids: Int[Array, "B T"], mask: Bool[Array, "B T"]
) -> None:
    """Compares, matches and describes an image and a text (BLIP-2's first stage)."""
    model.caption(model.encode_images(images), ids, mask)
    retrieval(model, images, ids, mask)


def answers_and_retrieval(
    model: ZiyaVisual, images: Images, ids: Int[Array, "B T"], mask: Bool[Array, "B T"]
) -> None:
    """Both, with the heads that a model of later stages carries along (`training.carried`)."""
    answers(model, images, ids, mask)
    retrieval(model, images, ids, mask)


USES: dict[str, Use] = {"answers": answers, "comparisons": comparisons}


def inputs(cfg: ModelConfig) -> tuple[jax.ShapeDtypeStruct, ...]:
    """Shapes of the smallest inputs of a use: an image, ids and mask."""
    size, length = cfg.vision.image_size, cfg.qformer.num_queries + 2
    return (
        jax.ShapeDtypeStruct((1, size, size, 3), jnp.uint8),
        jax.ShapeDtypeStruct((1, length), jnp.int32),
        jax.ShapeDtypeStruct((1, length), jnp.bool_),
    )


def abstract(model: ZiyaVisual, use: Use, *given: Any) -> dict:
    """Boxed shapes, with logical axes, of every variable that `use(model, *given)` touches.

    Args:
        given: trees of shapes (`jax.ShapeDtypeStruct`).
    """
    return jax.eval_shape(lambda key: _initial(model, use, given, key), jax.random.key(0))


def fresh(
    model: ZiyaVisual,
    use: Use,
    *given: Any,
    seed: int,
    mesh: Mesh,
    only: Collection[str] | None = None,
    start: Callable[[FlatParams], Mapping[str, Array]] = dict,
) -> tuple[FlatParams, dict[str, NamedSharding]]:
    """Random values of the variables that `use(model, *given)` touches, created sharded.

    The value of a leaf depends on its path and the seed, not on the other leaves.

    Args:
        given: trees of shapes.
        only: paths of the leaves to create; the others take neither memory nor time.
        start: maps the random leaves, by path, to the initial ones.

    Returns:
        The flat leaves and their shardings, both by path.
    """
    shardings = leaf_shardings(abstract(model, use, *given), mesh)
    if only is not None:
        shardings = {path: sharding for path, sharding in shardings.items() if path in only}

    def init(key: Array) -> FlatParams:
        flat = start(trees.flatten(unboxed(_initial(model, use, given, key))))
        return {path: flat[path] for path in shardings}

    # Whatever JAX_DEFAULT_PRNG_IMPL says: a run begins with the same weights everywhere.
    key = jax.random.key(seed, impl="threefry2x32")
    return jax.jit(init, out_shardings=shardings)(key), shardings


def _initial(model: ZiyaVisual, use: Use, given: tuple, key: Array) -> dict:
    zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), given)
    return model.init(key, *zeros, method=use)
