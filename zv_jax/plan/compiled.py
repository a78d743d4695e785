"""The training step of a recipe, compiled for a topology without one of its chips."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zv_jax.config import Config
from zv_jax.errors import ConfigError, SetupError
from zv_jax.models.axes import on_mesh
from zv_jax.parallel.hardware import Topology
from zv_jax.parallel.sharding import batch_sharding
from zv_jax.stages import batch_spec, stage_of
from zv_jax.training.optimizer import make_optimizer
from zv_jax.training.state import Variables, abstract_parts
from zv_jax.training.step import TrainState, abstract_state, make_step

Shapes = dict[str, jax.ShapeDtypeStruct]
# What the compiler calls a chip, and how its cores are joined.
_COMPILER_NAMES = {
    "v4": ("v4", "megacore"),
    "v5e": ("v5e", "default"),
    "v5p": ("v5", "megacore"),
    "v6e": ("v6e", "default"),
}

# Changes what is computed and sent, so a plan without it would be one of another program; why:
# launch/xla_flags.py, which runs on machines without this package and so has it once more.
WHOLE_PRODUCTS = "--xla_jf_spmd_threshold_for_windowed_einsum_mib=1000000"


class TooLarge(ConfigError):
    """The compiler says that the step does not fit into the memory of a chip."""


@dataclass(frozen=True)
class Program:
    """The abstract step: what goes in, with where it lies."""

    variables: Variables  # shapes with shardings
    state: TrainState
    batch: Shapes


@dataclass(frozen=True)
class Compiled:
    """What the compiler says of one chip.

    Attributes:
        arguments, temporaries: bytes; the updated state takes the place of the old one.
        text: the optimised program.
        seconds: that compiling took.
    """

    arguments: float
    temporaries: float
    text: str
    seconds: float


def devices(topology: Topology) -> list:
    """The devices of a TPU topology, real enough to compile for.

    Raises:
        SetupError: the TPU compiler is not installed.
        ConfigError: the compiler knows no such grid.
    """
    name, chip_config = _COMPILER_NAMES[topology.chip.name]
    # libtpu would otherwise look for a TPU in this machine and ask the cloud's metadata server.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_ACCELERATOR_TYPE", f"{name}-{topology.chips}")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("LIBTPU_INIT_ARGS", WHOLE_PRODUCTS)
    try:
        import libtpu  # noqa: F401
    except ModuleNotFoundError as error:
        raise SetupError(
            "the TPU compiler is not installed",
            where="libtpu",
            expected="the extra tpu-aot",
            fix="pip install -e '.[tpu-aot]', or zv plan --estimate for arithmetic only",
        ) from error
    from jax.experimental import topologies

    grid = topology.shape
    flat = len(grid) == 2
    try:
        return topologies.get_topology_desc(
            platform="tpu",
            topology_name=f"{name}:{'x'.join(map(str, grid))}",
            chips_per_host_bounds=(min(2, grid[0]), min(2, grid[1]), 1),
            num_slices=topology.slices,
            chip_config_name=chip_config,
            # Links close to a ring where the grid is a whole pod's; smaller ones have open ends.
            wrap=tuple(n == 16 for n in (*grid, 1)) if flat else (True,) * 3,
        ).devices
    except Exception as error:
        raise ConfigError(
            f"the compiler has no topology {topology.name}: {str(error).splitlines()[0]}",
            where="topology",
            expected="a grid that is sold, as v5e:4x4, v5e:16x16, v4:4x4x4",
            fix="correct the grid",
        ) from error


def batch_shapes(config: Config, mesh: Mesh) -> Shapes:
    """The global batch as the loop hands it to the step, by name."""
    rows, whole = batch_sharding(mesh), NamedSharding(mesh, PartitionSpec())
    return {
        name: jax.ShapeDtypeStruct(*spec, sharding=rows if spec.shape else whole)
        for name, spec in batch_spec(config).items()
    }


def abstract_program(config: Config, mesh: Mesh) -> Program:
    """Shapes and shardings of everything the step takes; nothing is computed.

    Raises:
        ConfigError: as `leaf_shardings`, and every leaf without a rule.
    """
    variables = abstract_parts(config, stage_of(config), mesh)
    tx, _ = make_optimizer(config.optimizer, config.train.steps)
    state = abstract_state(variables.trainable, tx, mesh, config.guards)
    return Program(variables, state, batch_shapes(config, mesh))


def lower(config: Config, mesh: Mesh) -> jax.stages.Lowered:
    """The step, traced for `mesh`, whose devices need not exist."""
    program = abstract_program(config, mesh)
    tx, schedule = make_optimizer(config.optimizer, config.train.steps)
    step = make_step(config, stage_of(config), tx, schedule, mesh, program.state)
    with on_mesh(mesh):
        return step.lower(program.state, program.variables.frozen, program.batch)


def compile_step(config: Config, mesh: Mesh) -> Compiled:
    """Compiles the step of `config` for the devices of `mesh`.

    Raises:
        TooLarge: the program does not fit into the memory of a chip; the message says by how much.
    """
    began = time.monotonic()
    lowered = lower(config, mesh)
    try:
        compiled = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        raise _does_not_fit(error, config) from error
    memory = compiled.memory_analysis()
    return Compiled(
        memory.argument_size_in_bytes,
        memory.temp_size_in_bytes + memory.output_size_in_bytes - memory.alias_size_in_bytes,
        compiled.as_text(),
        time.monotonic() - began,
    )


def _does_not_fit(error: Exception, config: Config) -> Exception:
    lines = [line.strip() for line in str(error).splitlines()]
    if "RESOURCE_EXHAUSTED" not in str(error):
        return error
    told = next((line for line in lines if "Used" in line or "xceeded" in line), lines[0])
    return TooLarge(
        f"the step does not fit: {told[:300]}",
        where=f"train.batch_size={config.train.batch_size}, model.remat={config.model.remat}",
        expected="a step within the memory of a chip",
        fix="lower --config.train.batch_size, raise --config.train.microbatches, or set "
        "--config.model.remat=full",
    )
