"""Who draws at random in a step: what trains, and nothing else (the table of stages decides)."""

import dataclasses

import flax.linen as nn
import jax
import pytest
from synthetic import batch, tiny, variables

from zv_jax import trees
from zv_jax.models.axes import on_mesh, unboxed
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import make_mesh
from zv_jax.stages import Stage, split, stage_of
from zv_jax.training.state import abstract_variables
from zv_jax.training.step import make_loss

PROJECTOR = Stage("dialogues", ("lm",), (r"params/projector/.*",), adapters=True)
QFORMER, VIT, ADAPTERS = {"qformer Dropout"}, {"vision Block"}, {"vision Dropout", "llm Dropout"}
# (stage, variant, more fields) -> tower and kind of layer of every draw.
DRAWS = {
    ("language", "chat"): set(),
    ("vision", "chat"): VIT,
    ("stage0", "base"): QFORMER,
    ("stage0", "chat", "train_vision"): QFORMER | VIT,
    ("stage1", "base"): set(),
    ("stage1", "chat"): QFORMER,
    ("stage2", "base"): QFORMER,
    ("stage2", "chat"): QFORMER | ADAPTERS,  # and no drop_path: the ViT's own layers are frozen
}


def random_everywhere(*stage, **more):
    """A stage of the tiny model, every rate that there is above 0."""
    config = tiny(*stage, **more)
    model = config.model
    vision = dataclasses.replace(model.vision, drop_path=0.5)
    qformer = dataclasses.replace(model.qformer, dropout=0.1)
    lora = dataclasses.replace(model.lora, dropout=0.1)
    model = dataclasses.replace(model, vision=vision, qformer=qformer, lora=lora)
    return dataclasses.replace(config, model=model)


def draws(monkeypatch, config, stage) -> set[str]:
    """Tower and kind of every layer that asks for randomness when the loss is traced."""
    found, plain = set(), nn.Module.make_rng

    def noted(module, *name):
        found.add(f"{module.path[0]} {type(module).__name__}")
        return plain(module, *name)

    shapes = trees.flatten(unboxed(abstract_variables(config, stage_of(config))))
    halves = [{path: shapes[path] for path in half} for half in split(shapes, stage)]
    monkeypatch.setattr(nn.Module, "make_rng", noted)
    jax.eval_shape(make_loss(config, stage), *halves, batch(stage.batch), jax.random.key(0))
    return found


@pytest.mark.parametrize("case", DRAWS, ids=" ".join)
def test_each_stage_draws_for_what_it_trains(monkeypatch, case):
    name, variant, *more = case
    config = random_everywhere(name, variant, **dict.fromkeys(more, True))
    assert draws(monkeypatch, config, stage_of(config)) == DRAWS[case]


def test_frozen_adapters_draw_nothing(monkeypatch):
    assert draws(monkeypatch, random_everywhere("stage2", "chat"), PROJECTOR) == set()


@pytest.mark.parametrize(
    "name, variant, same", [("stage1", "base", True), ("stage2", "chat", False)]
)
def test_the_loss_depends_on_the_key_only_where_something_that_draws_trains(name, variant, same):
    """In stage 1 of Base only the projector trains."""
    config = random_everywhere(name, variant)
    mesh, stage = make_mesh(MeshConfig(), jax.devices()[:1]), stage_of(config)
    held, rows = variables(config, mesh), batch(stage.batch)
    with on_mesh(mesh):
        loss = jax.jit(lambda key: make_loss(config, stage)(held.trainable, held.frozen, rows, key))
        one, other = (float(loss(jax.random.key(n))[0]) for n in range(2))
    assert (one == other) == same
