"""Maps logical axis names to a device mesh: one table, and checks that flax does not make.

Models name their axes ("embed", "mlp", ...); only this file knows the mesh axes `data`, `fsdp` and
`tensor`. Slices of a pod are joined along `data`, whose only traffic is one sum of gradients per
step; all other traffic stays within a slice.
"""

from __future__ import annotations

import jax
import numpy as np
from jax.experimental import mesh_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from zv_jax.errors import ConfigError, unknown_name
from zv_jax.parallel.hardware import MeshConfig

AXES = ("data", "fsdp", "tensor")
ROWS = ("data", "fsdp")  # the mesh axes that shard the rows of a batch
LARGE = 4 << 20  # bytes: a leaf of this size should not be replicated

# None: deliberately replicated. Any other name is an error.
RULES: dict[str, str | tuple[str, ...] | None] = {
    "batch": ROWS,
    "length": None,
    "patches": None,
    "act_embed": None,
    "embed": "fsdp",
    "embed_out": "tensor",
    "heads": "tensor",
    "mlp": "tensor",
    "vocab": "tensor",
    "word": None,  # BERT's vocabulary: 30,523 has no small divisor
    "adapter_out": ("tensor", "fsdp"),  # the rank is too small to shard
    "projection": None,
    "patch": None,
    "position": None,
    "queries": None,
    "norm": None,
    "layers": None,
}


def make_mesh(config: MeshConfig, devices: list | None = None) -> Mesh:
    """A mesh with axes data, fsdp, tensor; one of them may be -1 and takes the remaining devices.

    With `slices` above 1, `data` spans the slices first.

    Raises:
        ConfigError: the product of the sizes is not the number of devices, or the slices do not
            divide `data` or do not match those of the devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = mesh_sizes(config, len(devices))
    # linen needs Auto axes: constraints become assertions on Explicit ones.
    types = (AxisType.Auto,) * len(AXES)
    if config.slices == 1:
        return jax.make_mesh(sizes, AXES, devices=devices, axis_types=types)
    return Mesh(_sliced(sizes, config.slices, devices), AXES, axis_types=types)


def mesh_sizes(config: MeshConfig, devices: int) -> tuple[int, int, int]:
    """Sizes of data, fsdp and tensor for this number of devices.

    Raises:
        ConfigError: their product is not the number of devices.
    """
    sizes = [config.data, config.fsdp, config.tensor]
    fixed = int(np.prod([s for s in sizes if s > 0]))
    if sizes.count(-1) == 1 and devices % fixed == 0:
        sizes[sizes.index(-1)] = devices // fixed
    if min(sizes) < 1 or int(np.prod(sizes)) != devices:
        raise ConfigError(
            f"a mesh of data={config.data} x fsdp={config.fsdp} x tensor={config.tensor}",
            where="mesh",
            expected=f"a product of {devices}, the number of devices",
            fix="set one of the axes to -1 to fill it",
        )
    return tuple(sizes)


def _sliced(sizes: tuple[int, ...], slices: int, devices: list) -> np.ndarray:
    found = len({getattr(device, "slice_index", None) for device in devices})
    # Devices without slices (CPU, GPU) are taken in order, process by process.
    if sizes[0] % slices or (hasattr(devices[0], "slice_index") and found != slices):
        raise ConfigError(
            f"{slices} slices for a mesh of data={sizes[0]} on devices of {found} slices",
            where="mesh.slices",
            expected="the number of slices of the job, which divides mesh.data",
            fix="set --config.mesh.slices and --config.mesh.data",
        )
    inner = (sizes[0] // slices, *sizes[1:])
    if not hasattr(devices[0], "slice_index"):
        return np.array(devices).reshape(sizes)
    return mesh_utils.create_hybrid_device_mesh(inner, (slices, 1, 1), devices)


def mesh_spec(
    path: str, names: tuple[str | None, ...], shape: tuple[int, ...], mesh: Mesh
) -> PartitionSpec:
    used: set[str] = set()
    spec: list[str | tuple[str, ...] | None] = []
    for name, size in zip(names, shape, strict=False):
        if name is not None and name not in RULES:
            raise unknown_name("logical axis", name, RULES, path, fix="name a known axis")
        rule = RULES[name] if name else None
        axes = tuple(a for a in ((rule,) if isinstance(rule, str) else rule or ()) if a not in used)
        ways = int(np.prod([mesh.shape[axis] for axis in axes]))
        if size % ways:
            raise ConfigError(
                f"axis {name!r} of size {size} cannot be split {ways} ways",
                where=path,
                expected=f"a divisor of {size} for " + " x ".join(f"mesh.{a}" for a in axes),
                fix=f"change --config.mesh.{axes[-1]}",
            )
        used.update(axes)
        spec.append(axes[0] if len(axes) == 1 else axes or None)
    return PartitionSpec(*spec)


def replicated_leaves(leaves: dict[str, jax.ShapeDtypeStruct | jax.Array]) -> dict[str, int]:
    """Large leaves that are replicated although the mesh could shard them: bytes by path.

    Args:
        leaves: arrays, or shapes with shardings, by path.
    """
    found = {}
    for path, leaf in leaves.items():
        sharding = leaf.sharding
        if (
            not isinstance(sharding, NamedSharding)
            or sharding.mesh.size == sharding.mesh.shape["data"]
        ):
            continue
        size = leaf.size * leaf.dtype.itemsize
        if sharding.is_fully_replicated and size >= LARGE:
            found[path] = size
    return found


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Rows sharded over data and fsdp; all other axes replicated."""
    return NamedSharding(mesh, PartitionSpec(ROWS))


def data_parallel_size(mesh: Mesh) -> int:
    """Number of shards of the rows of a batch."""
    return int(np.prod([mesh.shape[axis] for axis in ROWS]))


def is_shared() -> bool:
    """Whether the current mesh shards rows over more than one device."""
    mesh = jax.sharding.get_abstract_mesh()
    return not mesh.empty and data_parallel_size(mesh) > 1


def single_cpu() -> bool:
    """Whether one CPU device computes all rows; a few products have a faster form there."""
    return jax.default_backend() == "cpu" and not is_shared()


def local_rows(mesh: Mesh, batch_size: int) -> list[int]:
    """Rows of a global batch on the devices of this process, in order."""
    parts = batch_sharding(mesh).addressable_devices_indices_map((batch_size,)).values()
    return sorted({row for (part,) in parts for row in range(*part.indices(batch_size))})


def take_rows(x: jax.Array, index: jax.Array, group: int = 0) -> jax.Array:
    """`x[index]`, with the rows of both arguments and of the result sharded over the mesh.

    By default the partitioner sums a masked copy of the entire batch over all devices. Here each
    device receives the rows of its group once and keeps those it needs.

    Args:
        x: [B, ...].
        index: int [B]; with a group, indices stay within it.
        group: number of consecutive rows that form a group; 0 means all rows.
    """
    if not is_shared():
        return x[index]
    ways = data_parallel_size(jax.sharding.get_abstract_mesh())
    local = x.shape[0] // ways
    members = ways if not group else max(1, group // local)  # devices that exchange rows

    def exchange(rows: jax.Array, wanted: jax.Array) -> jax.Array:
        place = jax.lax.axis_index(ROWS)
        first = place // members * members
        if members < ways:
            groups = [list(range(i, i + members)) for i in range(0, ways, members)]
            rows = jax.lax.all_gather(rows, ROWS, tiled=True, axis_index_groups=groups)
        else:
            rows = jax.lax.all_gather(rows, ROWS, tiled=True)
        return rows[wanted - first * local]

    spec = PartitionSpec(ROWS)
    return jax.shard_map(exchange, in_specs=(spec, spec), out_specs=spec, check_vma=False)(x, index)


def like_parameters(state: object, shardings: dict[str, NamedSharding], whole: NamedSharding):
    """Shardings of an optimiser state: a leaf of a parameter is sharded like the parameter.

    Args:
        state: optax state (arrays or shapes) of a flat dictionary of parameters.
        shardings: of the parameters, by path.
        whole: for leaves of no parameter, such as counters.
    """

    def of(path: tuple, leaf: jax.Array) -> NamedSharding:
        names = [str(getattr(part, "key", "")) for part in path]
        found = next((shardings[name] for name in reversed(names) if name in shardings), None)
        return found if found is not None and leaf.ndim == len(found.spec) else whole

    return jax.tree_util.tree_map_with_path(of, state)
