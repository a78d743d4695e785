"""Real steps of a recipe on the devices of this machine, with random weights and rows."""

from __future__ import annotations

import statistics
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from zv_jax.config import Config
from zv_jax.errors import TrainingError
from zv_jax.models.axes import on_mesh
from zv_jax.parallel.sharding import make_mesh
from zv_jax.plan import compiled, hlo
from zv_jax.stages import stage_of
from zv_jax.training.optimizer import make_optimizer
from zv_jax.training.step import init_state, make_step


def random_leaf(key: jax.Array, shape: tuple[int, ...], dtype: np.dtype) -> jax.Array:
    """Values as trained weights have them; int8 fills its range."""
    if jnp.issubdtype(dtype, jnp.integer):
        return jax.random.randint(key, shape, -127, 128, dtype)
    return (0.02 * jax.random.normal(key, shape, jnp.bfloat16)).astype(dtype)


def on_devices(shapes: compiled.Shapes, seed: int) -> dict[str, jax.Array]:
    """Random leaves, each made where it stays."""
    found = {}
    for number, (name, leaf) in enumerate(shapes.items()):
        key = jax.random.fold_in(jax.random.key(seed), number)
        make = jax.jit(random_leaf, static_argnums=(1, 2), out_shardings=leaf.sharding)
        found[name] = make(key, leaf.shape, np.dtype(leaf.dtype))
    return found


def batch_of(config: Config, shapes: compiled.Shapes) -> dict[str, jax.Array]:
    """A random batch of the announced shapes: images first, then words, all answers labelled."""
    rng, rows = np.random.default_rng(0), {}
    model, length = config.model, config.data.max_length
    for name, leaf in shapes.items():
        if leaf.dtype == np.bool_:
            value = np.ones(leaf.shape, bool)
        elif leaf.dtype == np.uint8:
            value = rng.integers(0, 256, leaf.shape, np.uint8)
        else:
            words = model.llm.vocab_size if name in ("input_ids", "labels") else 1000
            words = min(words, model.image_token_id, model.qformer.vocab_size)
            value = rng.integers(4, words, leaf.shape, dtype=np.int32)
        if name == "input_ids":
            value[:, : model.qformer.num_queries * config.data.max_images] = model.image_token_id
        if name == "labels":
            value[:, : length - config.data.max_answer] = -100
        if name == "image_ids":
            value = np.arange(len(value), dtype=np.int32)
        rows[name] = jax.device_put(value, leaf.sharding)
    return rows


def program_flops(text: str) -> float | None:
    """FLOPs of the products in a compiled program; None where it is written in a form that the
    reader does not know, since times on a device are worth more than their count."""
    try:
        return hlo.work(text).flops
    except (AttributeError, IndexError, KeyError, ValueError):
        return None


def measure(config: Config, steps: int) -> dict[str, Any]:
    """Runs the step `steps` times after a first one, which compiles it.

    Returns:
        Seconds of the first step, of each that follows and their median; peak bytes of the first
        device (None where it keeps no count); FLOPs of the matrix products in the program (on GPUs
        without those inside fused attention); the last loss.

    Raises:
        ConfigError: the mesh does not fit the devices.
        TrainingError: the loss is not finite, so that the times would mean nothing.
    """
    mesh, stage = make_mesh(config.mesh), stage_of(config)
    program = compiled.abstract_program(config, mesh)
    tx, schedule = make_optimizer(config.optimizer, config.train.steps)
    with on_mesh(mesh):
        frozen = on_devices(program.variables.frozen, 0)
        state = init_state(on_devices(program.variables.trainable, 1), tx, config.guards)
        step = make_step(config, stage, tx, schedule, mesh, state)
        rows = batch_of(config, program.batch)
        began, each = time.perf_counter(), []
        step = step.lower(state, frozen, rows).compile()
        for _ in range(1 + steps):
            state, metrics = step(state, frozen, rows)
            loss = float(metrics["loss"])
            each.append(time.perf_counter() - began)
            began = time.perf_counter()
    if not np.isfinite(loss):
        raise TrainingError(f"the loss of random weights is {loss}", where="the timed steps")
    memory = jax.devices()[0].memory_stats() or {}
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "first_step_seconds": each[0],
        "step_seconds": each[1:],
        "median_seconds": statistics.median(each[1:]),
        "compiled_flops": program_flops(step.as_text()),
        "peak_bytes": memory.get("peak_bytes_in_use"),
        "loss": loss,
    }
