"""The variables of a run: created sharded, and partitioned before the gradient is taken."""

from __future__ import annotations

import dataclasses
import functools
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zv_jax import trees
from zv_jax.checkpoints.frozen import SCALE
from zv_jax.config import Config
from zv_jax.models import parameters
from zv_jax.models.axes import leaf_shardings, unboxed
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.stages import Stage, batch_spec, split, stage_model
from zv_jax.training.losses.kind import Batch, LossTerms, loss_of
from zv_jax.warmup.start import warm_up_start

FlatParams = dict[str, jax.Array]
# Nearly all of the weights: the linear layers in the stacks of ViT and language model.
QUANTISED = r"params/(vision/blocks|llm/layers)/.*/kernel"


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Variables:
    """Flat leaves by path ("params/...", "lora/..."), trained and frozen separately."""

    trainable: FlatParams
    frozen: FlatParams


def merge(trainable: FlatParams, frozen: FlatParams) -> dict:
    """Both trees as the nested variables that `apply` takes."""
    return trees.unflatten({**frozen, **trainable})


def abstract_variables(config: Config, stage: Stage) -> dict:
    """Boxed shapes of every variable (with logical axes), without computing any."""
    return parameters.abstract(*_learning(config, stage))


def fresh_variables(
    config: Config, stage: Stage, mesh: Mesh, only: Collection[str] | None = None
) -> tuple[FlatParams, dict[str, NamedSharding]]:
    """Random variables of the stage, or only those in `only`, created sharded.

    Returns:
        The flat leaves and their shardings, both by path.
    """
    start = functools.partial(warm_up_start, cfg=config.model.llm) if stage.own_start else dict
    given = _learning(config, stage)
    return parameters.fresh(*given, seed=config.seed, mesh=mesh, only=only, start=start)


def abstract_leaves(config: Config, stage: Stage, mesh: Mesh) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes with shardings of the leaves that `fresh_variables` makes."""
    boxed = abstract_variables(config, stage)
    shardings = leaf_shardings(boxed, mesh)
    return {
        path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=shardings[path])
        for path, leaf in trees.flatten(unboxed(boxed)).items()
    }


def abstract_parts(config: Config, stage: Stage, mesh: Mesh) -> Variables:
    """Shapes with shardings of trainable and frozen leaves, as `partition` returns them.

    Raises:
        ConfigError: as `leaf_shardings`.
    """
    flat = abstract_leaves(config, stage, mesh)
    parts = jax.eval_shape(lambda leaves: partition(leaves, stage, config), flat)

    def placed(leaves: Mapping[str, jax.ShapeDtypeStruct]) -> dict[str, jax.ShapeDtypeStruct]:
        return {
            path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=_place_of(path, flat))
            for path, leaf in leaves.items()
        }

    return Variables(placed(parts.trainable), placed(parts.frozen))


def _place_of(path: str, flat: Mapping[str, jax.ShapeDtypeStruct]) -> NamedSharding:
    if path in flat:
        return flat[path].sharding
    kernel = flat[path.removesuffix(SCALE)].sharding  # [..., in, out] of an int8 kernel
    *stack, _, out = (*kernel.spec,)
    return NamedSharding(kernel.mesh, PartitionSpec(*stack, out))


def _learning(config: Config, stage: Stage) -> tuple[ZiyaVisual, parameters.Use, Any]:
    """The model of a stage, its loss, and the shapes of a batch, to trace for parameters."""
    loss = loss_of(stage)
    # Split into parts, a loss is a loop, inside which flax cannot create parameters.
    at_once = dataclasses.replace(config.train, microbatches=1, loss_chunks=1)
    whole = dataclasses.replace(config, train=at_once)

    def terms(model: ZiyaVisual, batch: Batch) -> LossTerms:
        return loss.terms(model, batch, jax.random.key(0), whole)

    batch = {name: jax.ShapeDtypeStruct(*spec) for name, spec in batch_spec(config).items()}
    return loss.model(stage_model(config)), terms, batch


def shard(flat: dict[str, np.ndarray], shardings: dict[str, NamedSharding]) -> FlatParams:
    """Puts host leaves onto their devices."""
    return {path: jax.device_put(leaf, shardings[path]) for path, leaf in flat.items()}


def partition(flat: FlatParams, stage: Stage, config: Config) -> Variables:
    """Splits leaves by the stage's table; frozen ones are cast to the compute dtype, or to int8."""
    trainable, frozen = split(flat, stage)
    dtype = jnp.dtype(config.model.dtype)
    held: FlatParams = {}
    for path in frozen:
        if config.train.frozen_dtype == "int8" and re.fullmatch(QUANTISED, path):
            held[path], held[path + SCALE] = quantise(flat[path])
        else:
            held[path] = flat[path].astype(dtype)
    return Variables({path: flat[path] for path in trainable}, held)


@jax.jit
def quantise(kernel: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Symmetric int8 quantisation with one scale per layer and output column.

    The error of an entry is at most half a step: 1/254 of the largest in its column.

    Args:
        kernel: float [..., in, out].

    Returns:
        int8 [..., in, out] and float32 scales [..., out]; their product is close to `kernel`.
    """
    kernel = kernel.astype(jnp.float32)
    scale = jnp.maximum(jnp.abs(kernel).max(-2), 1e-30) / 127
    return jnp.round(kernel / scale[..., None, :]).astype(jnp.int8), scale
