"""Which parameters a checkpoint must contain to be usable, whatever program wrote it.

These are the parameters that the model touches when it answers or compares, depending on the stage.
A model that answers may carry the heads of stage 0 along, and then compares too. A checkpoint of a
warm-up contains only part of a model and is not checked.
"""

from __future__ import annotations

import functools
from collections.abc import Collection
from typing import Any

import jax
from jax.sharding import Mesh

from zv_jax import trees
from zv_jax.checkpoints import shapes
from zv_jax.config.schema import Config
from zv_jax.models import parameters
from zv_jax.models.axes import leaf_shardings, unboxed
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.stages import stage_model, stage_of
from zv_jax.warmup.start import warm_up_start

HEADS = "params/heads/"


def needed(config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes, by path, of the leaves that using a checkpoint of `config.stage` requires; for a
    warm-up, those of a model that answers."""
    return trees.flatten(unboxed(shapes.abstract(*_use(config))))


def beside(config: Config) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes by path of what a model that answers needs for retrieval and otherwise lacks: the
    heads, and in Base the text half of the Q-Former. None for a stage of another use."""
    if stage_of(config).use != "answers":
        return {}
    model = ZiyaVisual(stage_model(config))
    given = parameters.inputs(config.model)
    both = shapes.abstract(model, parameters.answers_and_retrieval, *given)
    own = needed(config)
    return {path: leaf for path, leaf in trees.flatten(unboxed(both)).items() if path not in own}


def placed(
    config: Config, mesh: Mesh, held: Collection[str], whole: bool
) -> dict[str, jax.ShapeDtypeStruct]:
    """Shapes with shardings of the leaves to load from a checkpoint.

    Args:
        held: the paths of its leaves.
        whole: whether it must contain all `needed` leaves, except for a warm-up; otherwise missing
            ones are skipped.
    """
    boxed = shapes.abstract(*_use(config, held))
    shardings, whole = leaf_shardings(boxed, mesh), whole and bool(stage_of(config).use)
    return {
        path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=shardings[path])
        for path, leaf in trees.flatten(unboxed(boxed)).items()
        if whole or path in held
    }


def untrained(config: Config, mesh: Mesh, held: Collection[str]) -> dict[str, jax.Array]:
    """Initial random values of the `needed` leaves; for a warm-up, of the leaves it contains."""
    stage = stage_of(config)
    start = functools.partial(warm_up_start, cfg=config.model.llm) if stage.own_start else dict
    only = None if stage.use else held
    return parameters.fresh(
        *_use(config, held), seed=config.seed, mesh=mesh, only=only, start=start
    )[0]  # fmt: skip


def _use(config: Config, held: Collection[str] = ()) -> tuple[Any, ...]:
    """The model of `config.stage`, its use and inputs; `held` are the paths of a checkpoint."""
    use = parameters.USES[stage_of(config).use or "answers"]
    if use is parameters.answers and any(path.startswith(HEADS) for path in held):
        use = parameters.answers_and_retrieval
    return ZiyaVisual(stage_model(config)), use, *parameters.inputs(config.model)
