"""Ways to save memory: int8 frozen weights, named recomputation, chunks of the loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import batch, on_devices, start, tiny

from zv_jax.checkpoints.frozen import SCALE
from zv_jax.checkpoints.manager import Checkpointer, describe, load_params
from zv_jax.config.schema import CheckpointConfig
from zv_jax.errors import ConfigError
from zv_jax.models.axes import on_mesh
from zv_jax.models.layers import constrain
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import make_mesh, replicated_leaves
from zv_jax.stages import stage_of
from zv_jax.training.state import quantise
from zv_jax.training.step import make_gradient


def test_int8_is_off_by_half_a_step_of_its_column_at_most():
    kernel = np.random.default_rng(0).standard_normal((3, 64, 16)).astype(np.float32)
    kernel[0, :, 0] = 0  # a column of zeros stays zeros
    values, scale = quantise(jnp.asarray(kernel))
    assert values.dtype == jnp.int8 and scale.shape == (3, 16)
    back = np.asarray(values, np.float32) * np.asarray(scale)[:, None]
    largest = np.abs(kernel).max(1, keepdims=True)
    assert (np.abs(back - kernel) <= largest / 254 * 1.001 + 1e-30).all()


@pytest.fixture(scope="module")
def alone():
    return make_mesh(MeshConfig(), jax.devices()[:1])


@pytest.mark.slow
def test_int8_frozen_weights_train_nearly_as_well_and_are_read_back(tmp_path, alone):
    found = {}
    for kind in ("compute", "int8"):
        config = tiny("stage2", "chat", frozen_dtype=kind)
        with on_mesh(alone):
            leaves, state, step = start(config, alone)
            rows = on_devices(batch("dialogues"), alone)
            if kind == "int8":
                small = {k: v for k, v in leaves.frozen.items() if v.dtype == jnp.int8}
                assert {k + SCALE for k in small} <= leaves.frozen.keys() and len(small) == 11
                with Checkpointer(tmp_path, CheckpointConfig(every=1)) as checkpoints:
                    meta = {"fingerprint": "", "config": {}, "tokenizers": [], "provenance": None}
                    checkpoints.save(1, state, leaves.frozen, meta, force=True)
            else:
                plain = {k: np.asarray(v) for k, v in leaves.frozen.items()}
            losses = []
            for _ in range(3):
                state, metrics = step(state, leaves.frozen, rows)
                losses.append(float(metrics["loss"]))
        found[kind] = losses
    assert found["int8"] == pytest.approx(found["compute"], rel=0.02)
    assert found["int8"][-1] < found["int8"][0]
    # Whoever reads the checkpoint sees plain kernels.
    shapes, _ = describe(tmp_path)
    assert not any(name.endswith(SCALE) for name in shapes)
    read, _ = load_params(tmp_path)
    assert read.keys() >= plain.keys()
    for name in small:
        step_size = np.abs(plain[name]).max(-2, keepdims=True) / 254
        assert (np.abs(read[name] - plain[name]) <= step_size * 1.01).all(), name
    (name, *_) = small
    one, _ = load_params(tmp_path, only={name: jax.ShapeDtypeStruct(read[name].shape, "float32")})
    np.testing.assert_allclose(one[name], read[name], rtol=1e-6)


@pytest.mark.parametrize("policy", ["names", pytest.param("offload", marks=pytest.mark.slow)])
def test_named_policies_change_no_gradient(policy, alone):
    found = {}
    for name in ("none", policy):
        config = tiny("stage2", "chat", model={"remat": name})
        with on_mesh(alone):
            leaves, _, _ = start(config, alone)
            gradient = jax.jit(make_gradient(config, stage_of(config)))
            rows = on_devices(batch("dialogues"), alone)
            found[name], _ = gradient(leaves.trainable, leaves.frozen, rows, jax.random.key(0))
    for path, wanted in found["none"].items():
        np.testing.assert_allclose(found[policy][path], wanted, 1e-4, 1e-6, err_msg=path)


def test_an_unknown_name_of_an_activation_is_an_error(alone):
    x = jnp.zeros((2, 3))
    assert constrain(x, "nobody", "knows") is x, "no mesh, no rules"
    with on_mesh(alone), pytest.raises(ConfigError, match="unknown logical axis 'lenght'.*length"):
        constrain(x, "batch", "lenght")


def test_large_leaves_that_stay_whole_are_named():
    mesh = jax.sharding.AbstractMesh((1, 8, 1), ("data", "fsdp", "tensor"))

    def leaf(size: int, *spec: str | None) -> jax.ShapeDtypeStruct:
        sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*spec))
        return jax.ShapeDtypeStruct((size, 1024), jnp.float32, sharding=sharding)

    leaves = {"large": leaf(2048), "small": leaf(8), "shared": leaf(2048, "fsdp")}
    assert replicated_leaves(leaves) == {"large": 2048 * 1024 * 4}
