"""`zv plan`: does a recipe fit on a machine, how fast is it there, what does it cost."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.errors import ConfigError

USAGE = """
usage: zv plan --config FILE[:ARG] --topology GRID [--mesh data,fsdp,tensor] [--price P] ...

  zv plan --config configs/stage2.py:chat,v5e-256 --topology v5e:16x16
  zv plan --config configs/stage0.py:base --topology h100:8 --mesh 1,8,1

For TPUs the real step is compiled (the extra tpu-aot; minutes for 13B), no TPU is needed; for
other chips, or with --estimate, everything is calculated. Topologies: v5e:16x16, v4:4x4x4,
2*v5e:16x16 (two slices), h100:8, h200, cpu, or the name of a hardware preset.
"""
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("topology", None, "chips and their grid", flag_values=values)
    flags.DEFINE_string(
        "mesh", None, "data,fsdp,tensor; else the recipe's, or the preset's", flag_values=values
    )
    flags.DEFINE_float("price", 0.0, "of one chip for one hour", flag_values=values)
    flags.DEFINE_bool("estimate", False, "calculate, never compile", flag_values=values)
    flags.DEFINE_string("out", None, "JSON file to write, too", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    from zv_jax.config import validate
    from zv_jax.parallel import hardware
    from zv_jax.parallel.hardware import MeshConfig

    config = validate(required(values, "config", "configs/stage2.py:chat,v5e-256"))
    topology = hardware.topology(required(values, "topology", "v5e:16x16"))
    mesh = config.mesh
    preset = next((m for m in hardware.HARDWARE.values() if m.topology == topology.name), None)
    if values.mesh:
        sizes = values.mesh.replace("x", ",").split(",")
        if len(sizes) != 3 or not all(size.lstrip("-").isdigit() for size in sizes):
            raise ConfigError(
                f"--mesh={values.mesh} is no mesh",
                where="--mesh",
                expected="three numbers: data,fsdp,tensor",
                fix="--mesh=2,128,1",
            )
        mesh = MeshConfig(*map(int, sizes))
    elif preset and -1 in (mesh.data, mesh.fsdp, mesh.tensor):
        mesh = MeshConfig(*preset.mesh)  # the recipe leaves it open, and this one is known to suit
    config = dataclasses.replace(config, mesh=dataclasses.replace(mesh, slices=topology.slices))
    # No accelerator of this machine is touched.
    os.environ["JAX_PLATFORMS"] = "cpu"
    from zv_jax.plan import report

    found = report.plan(config, topology, values.price, values.estimate)
    print(report.text(found))
    if values.out:
        from zv_jax.files import write_json

        Path(values.out).parent.mkdir(parents=True, exist_ok=True)
        write_json(Path(values.out), json.loads(json.dumps(found)))
        print(f"written: {values.out}")
