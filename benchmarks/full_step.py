"""A training step of a full-size recipe on the devices of this machine, beside its plan.

    python benchmarks/full_step.py --config configs/stage2.py:chat,h200 --batch 16 --out step.json

Weights are random and made on the devices, in the dtype they are kept in; the batch is random too.
Compared are memory, seconds of a step, rows a second and MFU with what `zv plan` calculates for the
same chip. Without arguments a small model takes its place, so that the command can be tried
anywhere; on a CPU only the program is shown to work, not the figures of a plan.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import json
import statistics
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from zv_jax.config import Config, recipe, validate
from zv_jax.models.axes import on_mesh
from zv_jax.parallel import hardware
from zv_jax.parallel.sharding import make_mesh
from zv_jax.plan import compiled, hlo, report
from zv_jax.stages import stage_of
from zv_jax.tables import align
from zv_jax.training.optimizer import make_optimizer
from zv_jax.training.step import init_state, make_step


def small() -> Config:
    """A model of two layers with every part of the Chat model."""
    return validate(
        recipe(
            "tiny_chat",
            stage={"name": "stage2", "variant": "chat"},
            data={"max_length": 24, "max_answer": 8, "max_qformer_text": 8},
            train={"batch_size": 8},
            mesh={"data": 1, "fsdp": -1},
        )
    )


def load(text: str) -> Config:
    """A recipe such as `configs/stage2.py:chat,h200`."""
    path, _, argument = text.partition(":")
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    return validate(module.get_config(argument))


def at_batch(config: Config, size: int) -> Config:
    """The recipe with batches of `size` rows, as many of them at once as before."""
    rows = config.train.batch_size // config.train.microbatches
    parts = max(1, size // rows) if config.train.microbatches > 1 else 1
    train = dataclasses.replace(config.train, batch_size=size, microbatches=parts)
    return dataclasses.replace(config, train=train)


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


def measure(config: Config, steps: int) -> dict:
    """Seconds of each step after the first, peak memory of the first device, and FLOPs of the
    matrix products in the program (on GPUs without those inside fused attention)."""
    mesh, stage = make_mesh(config.mesh), stage_of(config)
    program = compiled.abstract_program(config, mesh)
    tx, schedule = make_optimizer(config.optimizer, config.train.steps)
    with on_mesh(mesh):
        frozen = on_devices(program.variables.frozen, 0)
        state = init_state(on_devices(program.variables.trainable, 1), tx)
        step = make_step(config, stage, tx, schedule, mesh, state)
        rows = batch_of(config, program.batch)
        began = time.perf_counter()
        step = step.lower(state, frozen, rows).compile()
        state, metrics = step(state, frozen, rows)
        loss = float(metrics["loss"])
        first, each = time.perf_counter() - began, []
        for _ in range(steps):
            began = time.perf_counter()
            state, metrics = step(state, frozen, rows)
            loss = float(metrics["loss"])
            each.append(time.perf_counter() - began)
    if not np.isfinite(loss):
        raise SystemExit(f"the loss is {loss}: these figures would mean nothing")
    memory = jax.devices()[0].memory_stats() or {}
    return {
        "device": jax.devices()[0].device_kind,
        "devices": jax.device_count(),
        "first_step_seconds": first,
        "step_seconds": each,
        "median_seconds": statistics.median(each),
        "peak_bytes": memory.get("peak_bytes_in_use"),
        "compiled_flops": program_flops(step.as_text()),
        "loss": loss,
    }


def main() -> None:
    """Measures, plans, prints both."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--config", default="")
    parser.add_argument("--batch", type=int, default=0)
    parser.add_argument("--remat", default="", help="another policy than the recipe's")
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    config = load(given.config) if given.config else small()
    if given.batch:
        config = at_batch(config, given.batch)
    if given.remat:
        model = dataclasses.replace(config.model, remat=given.remat)
        config = dataclasses.replace(config, model=model)
    found = measure(config, given.steps)
    chip = hardware.chip_of(found["device"])
    topology = hardware.Topology(chip or hardware.CHIPS["cpu"], (jax.device_count(),))
    planned = report.plan(config, topology, by_hand=True)
    rate = config.train.batch_size / found["median_seconds"]
    flops = planned["flops"]["model_per_row"] * rate / topology.chips
    memory = planned["memory"]["arguments"] + planned["memory"]["temporaries"]
    table = [
        ("", "measured", "planned"),
        ("seconds of a step", found["median_seconds"], planned["step"]["seconds"]),
        ("rows a second", rate, planned["step"]["rows_per_second"]),
        ("MFU", flops / chip.flops if chip else None, planned["step"]["mfu"]),
        ("GiB on a device", (found["peak_bytes"] or 0) / hardware.GIB, memory / hardware.GIB),
    ]
    print(f"{found['devices']} x {found['device']}, {config.model.preset}, {config.stage.name}")
    shown = [[v if isinstance(v, str) else f"{v:.4g}" if v else "-" for v in row] for row in table]
    print("\n".join(align(shown, "lr")))
    if given.out:
        given.out.write_text(json.dumps({"measured": found, "planned": planned}, indent=1))


if __name__ == "__main__":
    main()
