"""`zv plan`: does a recipe fit on a machine, how fast is it there, what does it cost."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.config import flags as recipes
from zv_jax.errors import ConfigError, unknown_name

if TYPE_CHECKING:
    from zv_jax.config import Config
    from zv_jax.parallel.hardware import MeshConfig, Topology
    from zv_jax.plan.fit import Grid

USAGE = """
usage: zv plan --config FILE[:ARG] --topology GRID [--mesh data,fsdp,tensor] [--price P] ...
       zv plan --config FILE[:ARG] --fit [--memory SIZE] [--overrides FILE] ...

  zv plan --config configs/stage2.py:chat,v5e-256 --topology v5e:16x16
  zv plan --config configs/stage0.py:base --topology h100:8 --mesh 1,8,1
  zv plan --config configs/stage2.py:chat,h200 --fit --overrides fit.txt

For TPUs the real step is compiled (the extra tpu-aot; minutes for 13B), no TPU is needed; for
other chips, or with --estimate, everything is calculated. Topologies: v5e:16x16, v4:4x4x4,
2*v5e:16x16 (two slices), h100:8, h200, cpu, or the name of a hardware preset.

--fit looks for the fastest microbatches and recomputation that fit: it compiles settings for the
devices of this machine, runs the best three for two steps each, and prints what to add to zv train.
With --topology of TPUs it compiles for these and runs nothing. --memory pretends that a device has
so much; --share says which shares of it a program may take.
"""
TAKES_CONFIG = "config"
OF_FIT = ("memory", "share", "microbatches", "remat", "timed", "overrides")
NOT_OF_FIT = ("estimate", "price")


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("topology", None, "chips and their grid", flag_values=values)
    flags.DEFINE_string(
        "mesh", None, "data,fsdp,tensor; else the recipe's, or the preset's", flag_values=values
    )
    flags.DEFINE_float("price", 0.0, "of one chip for one hour", flag_values=values)
    flags.DEFINE_bool("estimate", False, "calculate, never compile", flag_values=values)
    flags.DEFINE_string("out", None, "JSON file to write, too", flag_values=values)
    flags.DEFINE_bool("fit", False, "look for a setting that fits", flag_values=values)
    flags.DEFINE_string("memory", None, "with --fit: of one device, as 16GiB", flag_values=values)
    flags.DEFINE_list(
        "share", [], "with --fit: shares of the memory to try, as 0.75,0.9", flag_values=values
    )
    flags.DEFINE_list(
        "microbatches", ["1", "2", "4", "8"], "with --fit: those to try", flag_values=values
    )
    flags.DEFINE_list(
        "remat",
        ["none", "dots", "names", "full"],
        "with --fit: values of model.remat to try",
        flag_values=values,
    )
    flags.DEFINE_bool("timed", True, "with --fit: run the best on this machine", flag_values=values)
    flags.DEFINE_string(
        "overrides", None, "with --fit: file to write for zv train", flag_values=values
    )


def run(values: flags.FlagValues, words: list[str]) -> None:
    from zv_jax.config import validate
    from zv_jax.parallel import hardware

    _check_flags(values)
    config = validate(required(values, "config", "configs/stage2.py:chat,v5e-256"))
    if values.fit and not values.topology:
        if values.mesh:
            config = dataclasses.replace(config, mesh=_mesh(values.mesh))
        _fit(values, config, None)
        return
    topology = hardware.topology(required(values, "topology", "v5e:16x16"))
    config = _on(topology, config, values.mesh)
    if values.fit:
        _fit(values, config, topology)
        return
    # No accelerator of this machine is touched.
    os.environ["JAX_PLATFORMS"] = "cpu"
    from zv_jax.plan import report

    found = report.plan(config, topology, values.price, values.estimate)
    print(report.text(found))
    _keep(values.out, found)


def _check_flags(values: flags.FlagValues) -> None:
    """Raises ConfigError for flags that would have no effect."""
    for name in NOT_OF_FIT if values.fit else OF_FIT:
        if values[name].present:
            raise ConfigError(
                f"--{name} has no effect {'with' if values.fit else 'without'} --fit",
                where=f"--{name}",
                expected=f"--fit with none of {_named(NOT_OF_FIT)}, or none of {_named(OF_FIT)}",
                fix=f"leave out --{name}, or {'leave out' if values.fit else 'add'} --fit",
            )


def _named(names: tuple[str, ...]) -> str:
    return ", ".join(f"--{name}" for name in names)


def _mesh(text: str) -> MeshConfig:
    from zv_jax.parallel.hardware import MeshConfig

    sizes = text.replace("x", ",").split(",")
    if len(sizes) != 3 or not all(size.lstrip("-").isdigit() for size in sizes):
        raise ConfigError(
            f"--mesh={text} is no mesh",
            where="--mesh",
            expected="three numbers: data,fsdp,tensor",
            fix="--mesh=2,128,1",
        )
    return MeshConfig(*map(int, sizes))


def _on(topology: Topology, config: Config, mesh_flag: str | None) -> Config:
    """The recipe with the mesh for `topology`."""
    from zv_jax.parallel import hardware

    mesh = config.mesh
    preset = next((m for m in hardware.HARDWARE.values() if m.topology == topology.name), None)
    if mesh_flag:
        mesh = _mesh(mesh_flag)
    elif preset and -1 in (mesh.data, mesh.fsdp, mesh.tensor):
        # The recipe leaves it open, and this one is known to suit.
        mesh = hardware.MeshConfig(*preset.mesh)
    return dataclasses.replace(config, mesh=dataclasses.replace(mesh, slices=topology.slices))


def _keep(out: str | None, found: dict) -> None:
    """Writes the figures as JSON where that is wanted."""
    if out:
        from zv_jax.files import write_json, writing

        with writing("the figures", Path(out), "give another --out"):
            Path(out).parent.mkdir(parents=True, exist_ok=True)
            write_json(Path(out), json.loads(json.dumps(found)))
        print(f"written: {out}")


def _fit(values: flags.FlagValues, config: Config, topology: Topology | None) -> None:
    """Searches, prints the table, writes the overrides."""
    from zv_jax.convert.shards import parse_size
    from zv_jax.plan import proposal
    from zv_jax.plan.fit import fit

    if topology is not None and not topology.chip.compiled:
        raise ConfigError(
            f"programs for {topology.chip.name} can be compiled only where it is",
            where="--topology",
            expected="TPUs, as v5e:4x4; or no --topology, for the devices of this machine",
            fix="run zv plan --fit without --topology on that machine, or leave out --fit",
        )
    memory = parse_size(values.memory, "--memory") if values.memory else 0
    found = fit(config, topology, _grid(values), memory, values.timed, _say)
    print(proposal.text(found))
    if found["chosen"] is None:
        _keep(values.out, found)
        raise ConfigError(
            "no setting of the grid fits",
            where=f"{found['machine']['name']}, --memory",
            expected="a setting within the memory of a device; the table says what each needs",
            fix="lower --config.train.batch_size, spread weights over more devices "
            "(--config.mesh.fsdp), try more --microbatches, or "
            "--config.train.frozen_dtype=int8",
        )
    chosen = proposal.overrides(found)
    lines = [*_given(values, config, chosen), *chosen]
    found["overrides"] = lines
    print("\n".join(["", *lines]))
    _keep(values.out, found)
    if values.overrides:
        from zv_jax.files import write_atomic, writing

        with writing("the overrides", Path(values.overrides), "give another --overrides"):
            Path(values.overrides).parent.mkdir(parents=True, exist_ok=True)
            write_atomic(Path(values.overrides), ("\n".join(lines) + "\n").encode())
        print(f"written: {values.overrides}; zv train --config ... $(cat {values.overrides})")


def _grid(values: flags.FlagValues) -> Grid:
    """What is searched, from the flags.

    Raises:
        ConfigError: a value is none.
    """
    from zv_jax.models.presets import REMAT_POLICIES
    from zv_jax.plan.fit import Grid

    for name in values.remat:
        if name not in REMAT_POLICIES:
            raise unknown_name("policy", name, REMAT_POLICIES, "--remat")
    parts = _numbers(values, "microbatches", int, lambda n: n >= 1, "whole numbers, as 1,2,4,8")
    shares = _numbers(values, "share", float, lambda x: 0 < x <= 1, "numbers up to 1, as 0.75,0.9")
    return Grid(parts, tuple(values.remat), shares)


def _numbers(
    values: flags.FlagValues, name: str, kind: type, valid: Callable[[Any], bool], expected: str
) -> tuple:
    try:
        found = tuple(kind(word) for word in values[name].value)
    except ValueError:
        found = ()
    if len(found) != len(values[name].value) or not all(map(valid, found)):
        raise ConfigError(
            f"{','.join(values[name].value)} does not fit",
            where=f"--{name}",
            expected=expected,
            fix=f"correct --{name}",
        )
    return found


def _given(values: flags.FlagValues, config: Config, chosen: list[str]) -> list[str]:
    """Arguments that the proposal depends on: the overrides given here, and another mesh."""
    from zv_jax.config import validate
    from zv_jax.sweep.points import overrides

    point = recipes.override_values(values)
    before = dataclasses.asdict(validate(values.config).mesh)
    mesh = dataclasses.asdict(config.mesh)
    point |= {f"mesh.{axis}": size for axis, size in mesh.items() if size != before[axis]}
    names = {line.partition("=")[0] for line in chosen}
    return [line for line in overrides(point) if line.partition("=")[0] not in names]


def _say(line: str) -> None:
    print(f"zv: {line}", file=sys.stderr, flush=True)
