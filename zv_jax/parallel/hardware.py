"""Accelerators by name: speed and memory of chips, their topologies, and a good mesh for each.

Peaks are the vendors' figures for dense bfloat16. For TPUs `memory` is what the compiler lets a
program use, slightly less than the chip has; for others it is the vendor's figure. `link` is bytes
a second out of a chip over all of its fast links together.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from zv_jax.errors import ConfigError, nearest, unknown_name

GIB = 1 << 30


@dataclass(frozen=True)
class MeshConfig:
    """Devices along each mesh axis; -1 takes all that the other axes leave."""

    data: int = -1
    fsdp: int = 1
    tensor: int = 1
    slices: int = 1  # of a pod; they are joined along data


@dataclass(frozen=True)
class Chip:
    """One accelerator.

    Attributes:
        flops: peak bfloat16 FLOP/s (float32 on the CPU).
        memory: bytes a program can use.
        bandwidth: bytes a second between memory and the chip.
        link: bytes a second to the other chips of the slice, one way.
        network: bytes a second to other slices or hosts, one way, per chip.
        reach: share of `flops` that good training programs reach; published runs: MaxText on TPU
            v5e 0.60, Megatron on H100 0.47.
        compiled: whether a machine without the chip can compile programs for it.
    """

    name: str
    flops: float
    memory: float
    bandwidth: float
    link: float
    network: float
    reach: float = 0.60
    compiled: bool = False


CHIPS = {
    chip.name: chip
    for chip in (
        Chip("v4", 275e12, 30.75 * GIB, 1.228e12, 6 * 45e9, 6.25e9, compiled=True),
        Chip("v5e", 197e12, 15.75 * GIB, 0.819e12, 4 * 45e9, 3.125e9, compiled=True),
        Chip("v5p", 459e12, 95.74 * GIB, 2.765e12, 6 * 90e9, 6.25e9, compiled=True),
        Chip("v6e", 918e12, 31.25 * GIB, 1.640e12, 4 * 90e9, 12.5e9, compiled=True),
        Chip("h100", 989e12, 80e9, 3.35e12, 450e9, 50e9, 0.47),
        Chip("h200", 989e12, 141e9, 4.8e12, 450e9, 50e9, 0.47),
        Chip("cpu", 0.25e12, 16 * GIB, 40e9, 10e9, 1e9, 0.5),
    )
}


# Device kinds as jax names them; the first match counts.
_KINDS = (
    ("TPU v6", "v6e"),
    ("TPU v5 lite", "v5e"),
    ("TPU v5e", "v5e"),
    ("TPU v5", "v5p"),
    ("TPU v4", "v4"),
    ("H200", "h200"),
    ("H100", "h100"),
)


def chip_of(device_kind: str) -> Chip | None:
    """The chip of `jax.Device.device_kind`; None for unknown kinds, CPUs included."""
    return next((CHIPS[name] for text, name in _KINDS if text in device_kind), None)


@dataclass(frozen=True)
class Topology:
    """Some chips of one kind: `slices` times a grid of `shape`."""

    chip: Chip
    shape: tuple[int, ...]
    slices: int = 1

    @property
    def chips(self) -> int:
        """Number of chips in all slices."""
        return self.slices * int(np.prod(self.shape))

    @property
    def name(self) -> str:
        """The name that `topology` parses."""
        grid = "x".join(map(str, self.shape))
        return (f"{self.slices}*" if self.slices > 1 else "") + f"{self.chip.name}:{grid}"


@dataclass(frozen=True)
class Hardware:
    """A topology, with the mesh (data, fsdp, tensor) and the remat policy for 13B on it."""

    topology: str
    mesh: tuple[int, int, int]
    remat: str = "full"


# fsdp is at most 128, since the width of ViT-g is 1408 = 128 x 11. Names count TensorCores for v4
# and v5p, as the cloud's accelerator types do, and chips for the others.
HARDWARE = {
    "v4-128": Hardware("v4:4x4x4", (1, 64, 1)),
    "v5e-16": Hardware("v5e:4x4", (1, 16, 1)),
    "v5e-256": Hardware("v5e:16x16", (2, 128, 1)),
    "v5p-128": Hardware("v5p:4x4x4", (1, 64, 1), "names"),
    "v6e-256": Hardware("v6e:16x16", (2, 128, 1)),
    "h100x8": Hardware("h100:8", (1, 8, 1)),
    "h200": Hardware("h200:1", (1, 1, 1)),
    "cpu8": Hardware("cpu:8", (2, 2, 2), "none"),
}


def hardware(name: str) -> Hardware:
    """The preset called `name`.

    Raises:
        ConfigError: there is none.
    """
    if name not in HARDWARE:
        raise unknown_name(
            "hardware preset",
            name,
            HARDWARE,
            "hardware",
            fix="configs/stage2.py:chat,v5e-256; any other mesh: --config.mesh.fsdp=...",
        )
    return HARDWARE[name]


def topology(text: str) -> Topology:
    """`v5e:16x16`, `2*v5e:16x16` (two slices), `h100:8`, `cpu`, or the name of a preset.

    Raises:
        ConfigError: it is none of them.
    """
    found = re.fullmatch(r"(?:(\d+)\*)?([a-z]+\w*)(?::(\d+(?:x\d+)*))?", text)
    if text in HARDWARE:
        return topology(HARDWARE[text].topology)
    chip = found and CHIPS.get(found.group(2))
    if not chip or (found.group(3) is None and chip.compiled):
        raise ConfigError(
            f"unknown topology {text!r}{nearest(text, [*HARDWARE, *CHIPS])}",
            where="topology",
            expected="a chip and its grid, as v5e:16x16, v4:4x4x4, h100:8, cpu; chips are "
            + ", ".join(CHIPS),
            fix="or the name of a preset: " + ", ".join(HARDWARE),
        )
    shape = tuple(int(size) for size in (found.group(3) or "1").split("x"))
    if min(shape) < 1 or int(found.group(1) or 1) < 1:
        raise ConfigError(f"topology {text!r} has no chip", where="topology", expected="sizes >= 1")
    return Topology(chip, shape, int(found.group(1) or 1))
