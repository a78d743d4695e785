"""One plan: the figures of a recipe on a topology, as a dictionary and as a page of tables."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import numpy as np
from jax.sharding import AbstractMesh, Mesh

from zv_jax.config import Config
from zv_jax.models.axes import check_heads
from zv_jax.parallel.hardware import GIB, Topology
from zv_jax.parallel.sharding import (
    AXES,
    data_parallel_size,
    make_mesh,
    mesh_sizes,
    replicated_leaves,
)
from zv_jax.plan import activations, compiled, hlo
from zv_jax.stages import images_per_row, stage_of, tokens_per_row
from zv_jax.tables import align
from zv_jax.training import flops
from zv_jax.training.checks import check_batch
from zv_jax.training.losses.kind import loss_of
from zv_jax.training.overview import stage_table
from zv_jax.training.towers import FORWARD

TRANSFER = 0.80  # share of a bandwidth that large transfers reach
KEPT_FREE = 0.03  # of the memory, for what the compiler does not count


def plan(config: Config, topology: Topology, price: float = 0.0, by_hand: bool = False) -> dict:
    """Every figure, in plain JSON types; bytes, seconds, FLOPs.

    Args:
        price: of one chip for one hour, in any currency; 0 leaves the cost out.
        by_hand: never compile, only calculate.

    Raises:
        ConfigError: mesh, batch or names do not fit, or the step does not fit into memory.
        SetupError: the compiler for the topology is not installed.
    """
    compiles = topology.chip.compiled and not by_hand
    if compiles:
        mesh = make_mesh(config.mesh, list(compiled.devices(topology)))
    else:
        mesh = AbstractMesh(mesh_sizes(config.mesh, topology.chips), AXES)
    found = figures(config, topology, mesh, compiles)
    if price:
        found["run"]["cost"] = price * found["run"]["chip_hours"]
    return found


def figures(
    config: Config,
    topology: Topology,
    mesh: Mesh | AbstractMesh,
    compiles: bool,
    program: compiled.Program | None = None,
) -> dict[str, Any]:
    """What `plan` returns, without a cost.

    Args:
        mesh: over the chips of `topology`; a real one where the step is compiled.
        compiles: whether memory, FLOPs and traffic are those of the compiled step.
        program: where it is known; it is the same for any microbatches and recomputation.

    Raises:
        ConfigError: as `plan`.
    """
    check_heads(config.model, mesh)
    check_batch(config, mesh)
    program = program or compiled.abstract_program(config, mesh)
    held = {**program.variables.trainable, **program.variables.frozen}
    arguments = bytes_on_a_chip((program.state, program.variables.frozen, program.batch))
    rows, shards = config.train.batch_size / data_parallel_size(mesh), mesh.shape["fsdp"]
    guessed = activations.temporaries(config, rows, shards, mesh.shape["tensor"])
    found: dict[str, Any] = {
        "recipe": {
            **recipe(config),
            "image_size": config.model.vision.image_size,
            "length": tokens_per_row(config),
            "images": images_per_row(config),
            "frozen_dtype": config.train.frozen_dtype,
            "steps": config.train.steps,
        },
        "topology": {
            "name": topology.name,
            "chips": topology.chips,
            "reach": topology.chip.reach,
            "mesh": {axis: mesh.shape[axis] for axis in AXES},
        },
        "source": "compiled" if compiles else "calculated",
        "parameters": stage_table(held, set(program.variables.trainable)),
        "whole_leaves": replicated_leaves(held),
        "flops": _flops(config, topology),
    }
    memory = {"arguments": arguments, "temporaries": guessed}
    traffic = _calculated_traffic(config, program, mesh)
    if compiles:
        result = compiled.compile_step(config, mesh)
        work = hlo.work(result.text, topology.chips // topology.slices * (topology.slices > 1))
        memory = {"arguments": result.arguments, "temporaries": result.temporaries}
        traffic = [dataclasses.asdict(one) for one in work.traffic]
        found["flops"]["hardware_per_chip"] = work.flops
        found["compile_seconds"] = round(result.seconds, 1)
    found["flops"]["ratio"] = found["flops"]["hardware_per_chip"] / found["flops"]["model_per_chip"]
    memory["moments"] = bytes_on_a_chip(program.state.opt_state)
    memory["capacity"] = topology.chip.memory
    memory["headroom"] = memory["capacity"] - memory["arguments"] - memory["temporaries"]
    found["memory"], found["traffic"] = memory, traffic
    found["step"] = _step(found, topology)
    room = topology.chip.memory * (1 - KEPT_FREE) - memory["arguments"]
    most = activations.rows_that_fit(
        config, room, shards, mesh.shape["tensor"], memory["temporaries"] / guessed
    )
    found["largest_batch"] = most * data_parallel_size(mesh)
    hours = config.train.steps * found["step"]["seconds"] / 3600
    found["run"] = {"hours": hours, "chip_hours": hours * topology.chips}
    return found


def recipe(config: Config) -> dict[str, Any]:
    """What names a recipe in a report, in JSON types."""
    return {
        "stage": config.stage.name,
        "variant": config.stage.variant,
        "preset": config.model.preset,
        "batch_size": config.train.batch_size,
        "microbatches": config.train.microbatches,
        "remat": config.model.remat,
    }


def bytes_on_a_chip(tree: Any) -> float:
    """Bytes that the leaves of `tree`, shapes with shardings, take on one chip."""
    return float(
        sum(
            math.prod(leaf.sharding.shard_shape(leaf.shape)) * np.dtype(leaf.dtype).itemsize
            for leaf in jax.tree.leaves(tree)
        )
    )


def _flops(config: Config, topology: Topology) -> dict:
    rows = config.train.batch_size / topology.chips
    found = {
        "formula": flops.FORMULA,
        "towers": [
            {"tower": t.name, "forward": t.forward, "model": t.model} for t in flops.towers(config)
        ],
        "model_per_row": flops.model_flops(config),
        "model_per_chip": flops.model_flops(config) * rows,
        "hardware_per_chip": flops.hardware_flops(config) * rows,
    }
    return found | loss_of(stage_of(config)).facts(config)


def _calculated_traffic(config: Config, program: compiled.Program, mesh: Any) -> list[dict]:
    """What fully sharded weights need: gathered in every pass, gradients summed once.

    Each microbatch has passes of its own.
    """
    shards, copies = mesh.shape["fsdp"], mesh.shape["data"]
    kinds = {tower.name: tower.kind for tower in flops.towers(config)}
    passes = 0.0
    for path, leaf in {**program.variables.trainable, **program.variables.frozen}.items():
        tower = path.split("/")[1]
        times = config.train.microbatches * (1 if kinds.get(tower) == FORWARD else 2)
        passes += times * leaf.size * leaf.dtype.itemsize / mesh.shape["tensor"]
    gradients = 4.0 * sum(leaf.size for leaf in program.variables.trainable.values())
    found = []
    if shards > 1:
        share = (shards - 1) / shards
        for kind, payload in (("all-gather", passes), ("reduce-scatter", gradients)):
            found.append(hlo.Traffic(kind, shards, False, 0, payload, share * payload))
    if copies > 1:
        payload = gradients / shards
        spans = config.mesh.slices > 1
        wire = 2 * (copies - 1) / copies * payload
        found.append(hlo.Traffic("all-reduce", copies, spans, 0, payload, wire))
    return [dataclasses.asdict(one) for one in found]


def _step(found: dict, topology: Topology) -> dict:
    """Seconds of a step: arithmetic, memory and links work at once, the slowest decides."""
    chip, memory = topology.chip, found["memory"]
    near = sum(one["wire"] for one in found["traffic"] if not one["spans_slices"])
    far = sum(one["wire"] for one in found["traffic"] if one["spans_slices"])
    gathered = sum(o["payload"] for o in found["traffic"] if o["kind"] == "all-gather")
    # Each microbatch reads the weights again, and fills the same temporaries; the optimiser comes
    # once, after all of them.
    parts, moments = found["recipe"]["microbatches"], memory["moments"]
    read = parts * (memory["arguments"] - moments) + moments
    moved = read + parts * 2 * memory["temporaries"] + 2 * gathered
    seconds_of = {
        "arithmetic": found["flops"]["hardware_per_chip"] / chip.flops / chip.reach,
        "memory": moved / chip.bandwidth / TRANSFER,
        "links": near / chip.link / TRANSFER,
        "network": far / chip.network / TRANSFER,
    }
    seconds = max(seconds_of.values())
    rows = found["recipe"]["batch_size"]
    return {
        "parts": seconds_of,
        "bound_by": max(seconds_of, key=seconds_of.__getitem__),
        "seconds": seconds,
        "rows_per_second": rows / seconds,
        "rows_per_second_per_chip": rows / seconds / topology.chips,
        "mfu": found["flops"]["model_per_chip"] / seconds / chip.flops,
    }


def text(found: dict) -> str:
    """The plan for people."""
    recipe, topology, memory = found["recipe"], found["topology"], found["memory"]
    mesh = " x ".join(f"{axis}={size}" for axis, size in topology["mesh"].items())
    work, step, run = found["flops"], found["step"], found["run"]
    how = (
        f"compiled for it in {found['compile_seconds']:.0f} s"
        if found["source"] == "compiled"
        else "calculated, not compiled: memory and time are estimates"
    )
    lines = [
        f"{recipe['stage']} {recipe['variant']}, {recipe['preset']}, batch {recipe['batch_size']}, "
        f"images {recipe['image_size']}, remat {recipe['remat']}",
        f"on {topology['name']}: {topology['chips']} chips, {mesh}; {how}",
        "",
        *align(
            [
                ("tower", "trained", "frozen", "adapter"),
                *(
                    (row["tower"], *(f"{row[k]:,}" for k in ("trainable", "frozen", "adapter")))
                    for row in found["parameters"]
                ),
            ],
            "lr",
        ),
        "",
        *align(
            [
                ("TFLOP a row", "forward", "model"),
                *(
                    (row["tower"], f"{row['forward'] / 1e12:.4f}", f"{row['model'] / 1e12:.4f}")
                    for row in work["towers"]
                ),
            ],
            "lr",
        ),
        f"{work['formula']}",
        f"a step on a chip: model {work['model_per_chip'] / 1e12:.2f} TFLOP, "
        f"program {work['hardware_per_chip'] / 1e12:.2f} TFLOP, ratio {work['ratio']:.3f}",
    ]
    if "of_five_passes" in work:
        lines.append(
            f"three Q-Former passes: {work['of_five_passes']:.3f} of the FLOPs of five passes"
        )
    lines += [
        "",
        *align(
            [
                ("GiB on a chip", ""),
                *(
                    (name, f"{memory[name] / GIB:.2f}")
                    for name in ("arguments", "temporaries", "headroom", "capacity")
                ),
            ],
            "lr",
        ),
        *(
            f"whole on every chip: {path} ({size / 2**20:.1f} MiB)"
            for path, size in found["whole_leaves"].items()
        ),
        "",
        *align(
            [
                ("between chips, a step", "of", "calls", "MB", "MB sent by a chip"),
                *(
                    (
                        one["kind"] + (" (across slices)" if one["spans_slices"] else ""),
                        f"{one['group']}",
                        f"{one['count'] or '-'}",
                        f"{one['payload'] / 1e6:,.1f}",
                        f"{one['wire'] / 1e6:,.1f}",
                    )
                    for one in found["traffic"]
                ),
            ],
            "lr",
        ),
        "",
        "seconds of a step, "
        + ", ".join(f"{name} {value:.3f}" for name, value in step["parts"].items())
        + f"; bound by {step['bound_by']}",
        f"(at {topology['reach']:.0%} of the peak of arithmetic, {TRANSFER:.0%} of each bandwidth)",
        f"step {step['seconds']:.3f} s, {step['rows_per_second']:.1f} rows/s "
        f"({step['rows_per_second_per_chip']:.2f} a chip), MFU {step['mfu']:.1%}",
        f"largest batch that fits: about {found['largest_batch']}",
        f"{recipe['steps']:,} steps: {run['hours']:,.1f} h, {run['chip_hours']:,.0f} chip hours"
        + (f", cost {run['cost']:,.0f}" if "cost" in run else ""),
    ]
    return "\n".join(lines)
