"""From logical axis names to a device mesh: one table, and checks that flax leaves out.

Models name their axes ("embed", "mlp", ...); only this file knows the mesh axes `data`, `fsdp`
and `tensor`.
"""

from __future__ import annotations

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from zv_jax.config import MeshConfig
from zv_jax.errors import ConfigError

# None: deliberately whole on every device. A name that is not here is an error.
RULES: dict[str, str | tuple[str, ...] | None] = {
    "batch": ("data", "fsdp"),
    "length": None,
    "patches": None,
    "act_embed": None,
    "embed": "fsdp",
    "embed_out": "tensor",
    "heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
    "projection": None,
    "patch": None,
    "position": None,
    "queries": None,
    "norm": None,
    "layers": None,
}


def make_mesh(config: MeshConfig, devices: list | None = None) -> Mesh:
    """Mesh with axes data, fsdp, tensor; one of them may be -1 and takes what is left.

    Raises:
        ConfigError: the sizes do not multiply to the number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = [config.data, config.fsdp, config.tensor]
    fixed = int(np.prod([s for s in sizes if s > 0]))
    if sizes.count(-1) == 1 and len(devices) % fixed == 0:
        sizes[sizes.index(-1)] = len(devices) // fixed
    if min(sizes) < 1 or int(np.prod(sizes)) != len(devices):
        raise ConfigError(
            f"a mesh of data={config.data} x fsdp={config.fsdp} x tensor={config.tensor}",
            where="mesh",
            expected=f"a product of {len(devices)}, the number of devices",
            fix="set one of the axes to -1 to fill it",
        )
    # linen needs Auto axes: constraints become assertions on Explicit ones.
    return jax.make_mesh(
        tuple(sizes), ("data", "fsdp", "tensor"), devices=devices, axis_types=(AxisType.Auto,) * 3
    )


def unboxed(tree: dict) -> dict:
    """The plain leaves of a boxed tree. `nn.unbox` would put sharding constraints on them."""
    return jax.tree.map(
        lambda leaf: leaf.unbox(apply_constraint=False) if _is_box(leaf) else leaf,
        tree,
        is_leaf=_is_box,
    )


def _is_box(leaf: object) -> bool:
    return isinstance(leaf, nn.LogicallyPartitioned)


def leaf_shardings(abstract: dict, mesh: Mesh) -> dict[str, NamedSharding]:
    """Sharding of every leaf of a boxed variable tree, by flat path.

    Raises:
        ConfigError: an unknown logical name, or an axis that its mesh axes do not divide.
    """
    specs = flatten_dict(nn.get_partition_spec(abstract), sep="/")
    shapes = flatten_dict(unboxed(abstract), sep="/")
    return {
        path: NamedSharding(mesh, _mesh_spec(path, spec or (), shapes[path].shape, mesh))
        for path, spec in specs.items()
    }


def _mesh_spec(
    path: str, names: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh
) -> PartitionSpec:
    used: set[str] = set()
    axes: list[str | None] = []
    for name, size in zip(names, shape, strict=False):
        if name is not None and name not in RULES:
            raise ConfigError(
                f"unknown logical axis {name!r}",
                where=path,
                expected="one of " + ", ".join(RULES),
                fix="name a known axis",
            )
        axis = RULES[name] if name else None
        if axis is None or axis in used:
            axes.append(None)
            continue
        if size % mesh.shape[axis]:
            raise ConfigError(
                f"axis {name!r} of size {size} cannot be split {mesh.shape[axis]} ways",
                where=path,
                expected=f"a divisor of {size} for mesh.{axis}",
                fix=f"change --config.mesh.{axis}",
            )
        used.add(axis)
        axes.append(axis)
    return PartitionSpec(*axes)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows over data and fsdp; every other axis whole."""
    return NamedSharding(mesh, PartitionSpec(("data", "fsdp")))


def logical_rules() -> list[tuple[str, str | tuple[str, ...] | None]]:
    """`RULES` in the form of `nn.logical_axis_rules`."""
    return list(RULES.items())
