"""The table from logical axes to the mesh, and the errors it gives; eight devices are pretended."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
import pytest
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec

from zv_jax.errors import ConfigError
from zv_jax.models.axes import leaf_shardings, unboxed
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import like_parameters, local_rows, make_mesh, mesh_sizes


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
        ((None, "adapter_out"), PartitionSpec(None, ("tensor", "fsdp"))),
        (("embed", "adapter_out"), PartitionSpec("fsdp", "tensor")),
        (("word", "embed"), PartitionSpec(None, "fsdp")),
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


def test_slices_divide_data():
    one = jax.devices()[:1]
    with pytest.raises(ConfigError, match="2 slices for a mesh of data=1") as caught:
        make_mesh(MeshConfig(1, 1, 1, slices=2), one)
    assert caught.value.where == "mesh.slices"
    assert mesh_sizes(MeshConfig(-1, 128, 1), 512) == (4, 128, 1)


def test_a_process_alone_has_all_rows():
    assert local_rows(make_mesh(MeshConfig(), jax.devices()[:1]), 6) == list(range(6))


def test_moments_lie_as_their_parameters_and_counters_everywhere():
    whole = NamedSharding(mesh(), PartitionSpec())
    split = NamedSharding(mesh(), PartitionSpec("fsdp", "tensor"))
    leaf = {"params/a/kernel": jnp.zeros((4, 4))}
    state = optax.adam(1e-3).init(leaf)
    found = like_parameters(state, {"params/a/kernel": split}, whole)
    assert found[0].mu == found[0].nu == {"params/a/kernel": split} and found[0].count == whole


TAKE = """
import jax, numpy as np
from zv_jax.models.axes import on_mesh
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import batch_sharding, make_mesh, take_rows
mesh = make_mesh(MeshConfig(data=2, fsdp=2, tensor=1))
rows = np.arange(8.0)[:, None] + np.zeros(3)
with on_mesh(mesh):
    for group, index in ((0, [7, 0, 3, 3, 6, 1, 5, 4]), (4, [1, 0, 3, 3, 6, 7, 5, 4]),
                         (2, [1, 0, 3, 2, 5, 4, 7, 7])):
        placed = [jax.device_put(x, batch_sharding(mesh)) for x in (rows, np.array(index))]
        found = jax.jit(take_rows, static_argnums=2)(*placed, group)
        np.testing.assert_array_equal(found, rows[index])
"""


def test_rows_are_taken_within_their_group(fresh_python):
    """Groups of all devices, of two devices and of one, on four."""
    done = fresh_python("-c", TAKE, devices=4)
    assert done.returncode == 0, done.stderr[-2000:]
