"""What `zv plan --fit` asks of a process that has the compiler: the machine, candidates, steps."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import Mesh

from zv_jax.config import Config
from zv_jax.errors import ConfigError, SetupError
from zv_jax.models.axes import check_heads
from zv_jax.parallel import hardware, runtime
from zv_jax.parallel.hardware import Topology
from zv_jax.parallel.sharding import AXES, make_mesh
from zv_jax.plan import compiled, report, timed
from zv_jax.plan.search import Setting
from zv_jax.training.checks import check_batch


@dataclass(frozen=True)
class Machine:
    """What a candidate has to fit.

    Attributes:
        name: for people.
        kind: "cpu", "gpu" or "tpu".
        topology: its chips, with the figures of their speed.
        memory: bytes of one device; 0 where it tells none.
        known: whether the figures of speed are its own.
    """

    name: str
    kind: str
    topology: Topology
    memory: float
    known: bool = True


@dataclass(frozen=True)
class Calculated:
    """What arithmetic says of a setting on one device: seconds of a step, bytes of temporaries."""

    seconds: float
    temporaries: float


@dataclass(frozen=True)
class Survey:
    """What is known before anything is compiled.

    Attributes:
        mesh: sizes by axis.
        held: bytes of state, frozen weights and a batch on a device, the same for every setting.
        batch: bytes of a batch on a device.
        calculated: of the settings that divide the batch.
        refused: why the others do not.
    """

    machine: Machine
    mesh: Mapping[str, int]
    held: float
    batch: float
    calculated: Mapping[Setting, Calculated]
    refused: Mapping[Setting, str]


@dataclass(frozen=True)
class Need:
    """What the compiler says of a setting on one device.

    Attributes:
        arguments, temporaries: bytes.
        seconds: of a step by its operations and transfers; None where its text does not show them.
    """

    arguments: float
    temporaries: float
    seconds: float | None


def applied(config: Config, setting: Setting) -> Config:
    """The recipe with this setting."""
    return dataclasses.replace(
        config,
        train=dataclasses.replace(config.train, microbatches=setting.microbatches),
        model=dataclasses.replace(config.model, remat=setting.remat),
    )


def survey(config: Config, topology: Topology | None, settings: Sequence[Setting]) -> Survey:
    """Looks at the machine and calculates every setting; compiles none.

    Args:
        topology: of TPUs that need not be here; None means the devices of this machine.

    Raises:
        ConfigError: the recipe does not suit the machine, whatever the setting.
        SetupError: no device, or no compiler for the topology.
    """
    machine = _machine(topology)
    mesh = _mesh(config, topology)
    check_heads(config.model, mesh)
    program = compiled.abstract_program(config, mesh)
    calculated, refused, errors = {}, {}, []
    for setting in settings:
        candidate = applied(config, setting)
        try:
            check_batch(candidate, mesh)
        except ConfigError as error:
            errors.append(error)
            refused[setting] = f"{error.what}; {error.where}: {error.expected}"
            continue
        found = report.figures(candidate, machine.topology, mesh, False, program)
        seconds, memory = found["step"]["seconds"], found["memory"]
        calculated[setting] = Calculated(seconds, memory["temporaries"])
    if not calculated:
        raise errors[0]
    held = report.bytes_on_a_chip((program.state, program.variables.frozen, program.batch))
    batch = report.bytes_on_a_chip(program.batch)
    sizes = {axis: mesh.shape[axis] for axis in AXES}
    return Survey(machine, sizes, held, batch, calculated, refused)


def compile_setting(config: Config, topology: Topology | None, setting: Setting) -> Need:
    """Compiles the step of a setting.

    Raises:
        TooLarge: the compiler says so.
        SetupError: the compiler fails otherwise.
    """
    candidate, mesh = applied(config, setting), _mesh(config, topology)
    chips = _machine(topology).topology
    with _explained():
        if chips.chip.compiled:  # its text names every product and transfer
            found = report.figures(candidate, chips, mesh, True)
            memory = found["memory"]
            return Need(memory["arguments"], memory["temporaries"], found["step"]["seconds"])
        result = compiled.compile_step(candidate, mesh)
    return Need(result.arguments, result.temporaries, None)


def run_setting(config: Config, setting: Setting, steps: int) -> dict[str, Any]:
    """What `timed.measure` finds for a setting on the devices of this machine.

    Raises:
        SetupError: it does not run; out of memory, for one.
    """
    with _explained():
        return timed.measure(applied(config, setting), steps)


@contextmanager
def _explained() -> Iterator[None]:
    """Errors of the runtime in one line; their own class may not pass between processes."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        raise SetupError(str(error).splitlines()[0][:300]) from error


@functools.cache
def _devices(topology: Topology | None) -> tuple:
    return tuple(jax.devices() if topology is None else compiled.devices(topology))


def _mesh(config: Config, topology: Topology | None) -> Mesh:
    return make_mesh(config.mesh, list(_devices(topology)))


def _machine(topology: Topology | None) -> Machine:
    if topology is not None:
        return Machine(topology.name, "tpu", topology, topology.chip.memory)
    devices = _devices(None)
    first = devices[0]
    chip = hardware.CHIPS["cpu"] if first.platform == "cpu" else hardware.chip_of(first.device_kind)
    chips = Topology(chip or hardware.CHIPS["h100"], (len(devices),))
    name = f"{len(devices)} x {first.device_kind}"
    return Machine(name, first.platform, chips, _memory(devices), chip is not None)


def _memory(devices: Sequence[jax.Device]) -> float:
    if devices[0].platform == "cpu":  # all of them share that of the machine
        return runtime.memory() / len(devices)
    return float(min((d.memory_stats() or {}).get("bytes_limit", 0) for d in devices))
