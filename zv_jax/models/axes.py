"""Logical axes of the parameters, as flax keeps them: boxes around leaves, rules for a mesh.

`zv_jax.parallel.sharding` maps logical axes to mesh axes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import flax.linen as nn
import jax
from jax.sharding import AbstractMesh, Mesh, NamedSharding

from zv_jax import trees
from zv_jax.errors import ConfigError
from zv_jax.models.presets import ModelConfig
from zv_jax.parallel.sharding import RULES, mesh_spec


@contextmanager
def on_mesh(mesh: Mesh | AbstractMesh) -> Iterator[None]:
    """Sets the mesh and the logical axis rules that every traced function of ours expects."""
    with jax.set_mesh(mesh), nn.logical_axis_rules(list(RULES.items())):
        yield


def check_heads(model: ModelConfig, mesh: Mesh | AbstractMesh) -> None:
    """Raises ConfigError when tensor parallelism would split an attention head."""
    ways = mesh.shape["tensor"]
    towers = {
        "vision.heads": model.vision.heads,
        "qformer.heads": model.qformer.heads,
        "llm.kv_heads": model.llm.kv_heads,
    }
    for name, heads in towers.items():
        if heads % ways:
            raise ConfigError(
                f"{heads} heads cannot be spread over tensor={ways}",
                where=f"model.{name}",
                expected="mesh.tensor to divide "
                + ", ".join(f"{h} ({n})" for n, h in towers.items()),
                fix="lower --config.mesh.tensor and raise --config.mesh.fsdp",
            )


def unboxed(tree: dict) -> dict:
    """The plain leaves of a boxed tree. `nn.unbox` would put sharding constraints on them."""
    return jax.tree.map(
        lambda leaf: leaf.unbox(apply_constraint=False) if _is_box(leaf) else leaf,
        tree,
        is_leaf=_is_box,
    )


def boxed(leaf: jax.ShapeDtypeStruct, names: Sequence[str | None]) -> nn.LogicallyPartitioned:
    """A leaf with the names of its logical axes."""
    return nn.LogicallyPartitioned(leaf, tuple(names))


def names_of(leaf: object) -> tuple[str | None, ...] | None:
    """The names of the logical axes of a boxed leaf; None for a plain one."""
    return leaf.names if isinstance(leaf, nn.LogicallyPartitioned) else None


def _is_box(leaf: object) -> bool:
    return isinstance(leaf, nn.LogicallyPartitioned)


def leaf_shardings(abstract: dict, mesh: Mesh | AbstractMesh) -> dict[str, NamedSharding]:
    """Sharding of every leaf of a boxed variable tree, by flat path.

    Raises:
        ConfigError: an unknown logical name, or an axis that its mesh axes do not divide.
    """
    specs = trees.flatten(nn.get_partition_spec(abstract))
    shapes = trees.flatten(unboxed(abstract))
    return {
        path: NamedSharding(mesh, mesh_spec(path, spec or (), shapes[path].shape, mesh))
        for path, spec in specs.items()
    }
