"""Tiny configurations, batches of every kind and starting weights, made with numpy alone.

Also a program for a fresh process: `synthetic.py STAGE VARIANT MESH[,field=value...]...` prints as
JSON, for each mesh, the losses and gradient norms of two steps and how far the parameters are from
those of the first mesh.
"""

import json
import sys

import jax
import numpy as np
from jax.sharding import Mesh

from zv_jax import trees
from zv_jax.config import recipe, validate
from zv_jax.config.schema import Config, OptimizerConfig, TrainConfig
from zv_jax.models.axes import leaf_shardings, on_mesh, unboxed
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import batch_sharding, make_mesh
from zv_jax.stages import stage_of
from zv_jax.training.optimizer import make_optimizer
from zv_jax.training.state import Variables, abstract_variables, partition, shard
from zv_jax.training.step import init_state, make_step
from zv_jax.warmup.symbols import EMPTY, SYMBOL_TOKENS

ROWS, QUERIES, IMAGE = 8, 4, 127


def tiny(stage: str, variant: str, model: dict | None = None, **more) -> Config:
    """The tiny preset in a stage; `more`: fields of `stage`, `train`, `optimizer`."""
    train = {key: more.pop(key) for key in tuple(more) if hasattr(TrainConfig, key)}
    optimizer = {key: more.pop(key) for key in tuple(more) if hasattr(OptimizerConfig, key)}
    return validate(
        recipe(
            f"tiny_{variant}",
            model=model or {},
            stage={"name": stage, "variant": variant, **more},
            data={"max_text": 6, "max_length": 12, "max_answer": 4, "max_qformer_text": 5},
            optimizer={"lr": 3e-3, "schedule": "constant", **optimizer},
            train={"batch_size": ROWS, "steps": 100, **train},
        )
    )


def batch(kind: str, seed: int = 0) -> dict[str, np.ndarray]:
    """Eight rows as the data pipeline makes them; rows 0 and 1 share an image."""
    rng = np.random.default_rng(seed)

    def words(*shape: int) -> np.ndarray:
        return rng.integers(4, 120, shape, dtype=np.int32)

    if kind == "pairs":
        ids, mask = words(ROWS, 6), np.arange(6) < rng.integers(3, 7, (ROWS, 1))
        images = rng.integers(0, 256, (ROWS, 28, 28, 3), np.uint8)
        images[1] = images[0]
        return {
            "images": images, "text_ids": np.where(mask, ids, 0), "text_mask": mask,
            "text_learned": mask,
            "image_ids": np.array([0, 0, *range(2, ROWS)], np.int32), "dec_id": np.int32(3),
        }  # fmt: skip
    if kind == "patches":  # four of them, with a symbol for each side of a box
        images = rng.integers(0, 256, (ROWS, 28, 28, 3), np.uint8)
        return {"images": images, "symbols": words(ROWS, 16, SYMBOL_TOKENS)}
    mask = np.arange(12) < rng.integers(10, 13, (ROWS, 1))
    ids = np.where(mask, words(ROWS, 12), 0)
    labels = np.where(mask & (np.arange(12) >= 8), ids, -100)
    rows = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    ids[:, :QUERIES] = IMAGE
    if kind == "texts":
        absent = rng.random((ROWS, QUERIES, SYMBOL_TOKENS)) < 0.6
        return {**rows, "symbols": np.where(absent, EMPTY, words(*absent.shape))}
    seen = np.arange(5) < rng.integers(2, 6, (ROWS, 1))
    return {
        **rows,
        "images": rng.integers(0, 256, (ROWS, 1, 28, 28, 3), np.uint8),
        "qformer_input_ids": np.where(seen, words(ROWS, 5), 0),
        "qformer_attention_mask": seen,
    }


def on_devices(rows: dict[str, np.ndarray], mesh: Mesh) -> dict[str, jax.Array]:
    """The batch as the loop places it."""
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    return {
        name: jax.device_put(value, batch_sharding(mesh) if value.ndim else whole)
        for name, value in rows.items()
    }


def variables(config: Config, mesh: Mesh, seed: int = 0) -> Variables:
    """Random leaves, the same for every mesh; scales near 1, adapters not at zero."""
    stage = stage_of(config)
    boxed = abstract_variables(config, stage)
    rng = np.random.default_rng(seed)
    flat = {}
    for path, leaf in trees.flatten(unboxed(boxed)).items():
        noise = 0.05 * rng.standard_normal(leaf.shape)
        start = {"scale": 1.0, "temperature": 0.07}.get(path.rsplit("/", 1)[-1])
        flat[path] = np.asarray(noise if start is None else start + noise / 10, leaf.dtype)
    return partition(shard(flat, leaf_shardings(boxed, mesh)), stage, config)


def start(config: Config, mesh: Mesh):
    """(variables, state, step function); call it and the step inside `on_mesh`."""
    tx, schedule = make_optimizer(config.optimizer, config.train.steps)
    stage, leaves = stage_of(config), variables(config, mesh)
    state = init_state(leaves.trainable, tx)
    return leaves, state, make_step(config, stage, tx, schedule, mesh, state)


def two_steps(config: Config, sizes: str = "1x1x1") -> tuple[list[float], dict[str, np.ndarray]]:
    """Losses and gradient norms of two steps on the first devices, and the parameters after.

    `sizes` are data, fsdp and tensor of the mesh. The rows of the batch are always the same.
    """
    data, fsdp, tensor = (int(size) for size in sizes.split("x"))
    mesh = make_mesh(MeshConfig(data, fsdp, tensor), jax.devices()[: data * fsdp * tensor])
    with on_mesh(mesh):
        leaves, state, step = start(config, mesh)
        found = []
        for seed in range(2):
            rows = on_devices(batch(stage_of(config).batch, seed), mesh)
            state, metrics = step(state, leaves.frozen, rows)
            found += [float(metrics["loss"]), float(metrics["grad_norm"])]
    assert step._cache_size() == 1
    return found, {path: np.asarray(leaf) for path, leaf in state.trainable.items()}


def distance(found: dict[str, np.ndarray], wanted: dict[str, np.ndarray]) -> float:
    """The largest relative difference of a leaf, in the Euclidean norm."""
    norm = np.linalg.norm
    return max(float(norm(found[k] - leaf) / norm(leaf)) for k, leaf in wanted.items())


if __name__ == "__main__":
    name, variant, *wanted = sys.argv[1:]
    first, report = None, {}
    for item in wanted:  # a mesh, and fields to change: 2x2x2,microbatches=2,itm_group=4
        sizes, *fields = item.split(",")
        changes = {k: json.loads(v) for k, v in (field.split("=") for field in fields)}
        # Adam divides by the size of the gradient: where that is zero but for rounding (biases of
        # keys), a small eps would make a full update of the rounding.
        losses, parameters = two_steps(tiny(name, variant, eps=1e-2, **changes), sizes)
        first = first or parameters
        report[item] = [losses, distance(parameters, first)]
    print(json.dumps(report))
