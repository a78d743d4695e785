"""The table from logical axes to the mesh, and the errors it gives; eight devices are pretended."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest
from jax.sharding import AbstractMesh, PartitionSpec

from zv_jax.config import MeshConfig
from zv_jax.errors import ConfigError
from zv_jax.sharding import leaf_shardings, make_mesh, unboxed


def boxed(names, shape=(6, 8)) -> dict:
    def init(key):
        return {"tower": {"kernel": nn.with_logical_partitioning(nn.initializers.zeros, names)(
            key, shape)}}  # fmt: skip

    return jax.eval_shape(init, jax.random.key(0))


def mesh(data=2, fsdp=2, tensor=2) -> AbstractMesh:
    return AbstractMesh((data, fsdp, tensor), ("data", "fsdp", "tensor"))


@pytest.mark.parametrize(
    "names, spec",
    [
        (("embed", "mlp"), PartitionSpec("fsdp", "tensor")),
        (("mlp", "embed"), PartitionSpec("tensor", "fsdp")),
        (("norm", None), PartitionSpec(None, None)),
        (("heads", "mlp"), PartitionSpec("tensor", None)),  # a mesh axis is used once
    ],
)
def test_logical_axes_become_mesh_axes(names, spec):
    assert leaf_shardings(boxed(names), mesh())["tower/kernel"].spec == spec


def test_an_unknown_axis_is_an_error():
    with pytest.raises(ConfigError, match="unknown logical axis 'embedd'.*") as caught:
        leaf_shardings(boxed(("embedd", "mlp")), mesh())
    assert "tower/kernel" in str(caught.value) and "embed" in str(caught.value)


def test_an_axis_that_does_not_divide_is_an_error():
    with pytest.raises(ConfigError, match="size 6 cannot be split 4 ways") as caught:
        leaf_shardings(boxed(("embed", "mlp")), mesh(fsdp=4))
    assert "mesh.fsdp" in str(caught.value) and "tower/kernel" in str(caught.value)


def test_unboxed_gives_plain_shapes():
    assert unboxed(boxed(("embed", "mlp")))["tower"]["kernel"] == jax.ShapeDtypeStruct(
        (6, 8), jnp.float32
    )


def test_mesh_fills_one_axis_and_refuses_what_does_not_fit():
    one = jax.devices()[:1]
    assert dict(make_mesh(MeshConfig(-1, 1, 1), one).shape) == {"data": 1, "fsdp": 1, "tensor": 1}
    for sizes in (MeshConfig(2, 1, 1), MeshConfig(-1, -1, 1), MeshConfig(-1, 2, 1)):
        with pytest.raises(ConfigError, match="mesh"):
            make_mesh(sizes, one)
