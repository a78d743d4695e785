import errno
import json
import shutil
import subprocess
import sys
from collections import Counter

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zv_jax.checkpoints.frozen import content_hash, unscaled
from zv_jax.checkpoints.manager import Checkpointer, describe, load_params
from zv_jax.checkpoints.reader import located
from zv_jax.config.schema import CheckpointConfig, OptimizerConfig
from zv_jax.errors import CheckpointError
from zv_jax.training.optimizer import make_optimizer

CFG = CheckpointConfig(every=5, keep=2)
TX, _ = make_optimizer(OptimizerConfig(), 100)
META = {"config": {"seed": 0, "name": "名"}, "tokenizers": {"llm": "abc"}, "provenance": ["x"]}
FROZEN = {
    "params/vision/blocks/attn/qkv/kernel": jnp.arange(24, dtype=jnp.bfloat16).reshape(2, 3, 4),
    "params/heads/temperature": jnp.float32(0.07),
}


def make_state(step, seed=0):
    keys = jax.random.split(jax.random.key(seed + step), 2)
    trainable = {
        "params/projector/kernel": jax.random.normal(keys[0], (4, 6)),
        "params/projector/bias": jnp.arange(6.0) + step,
        "lora/llm/layers/attn/q/lora_a": jax.random.normal(keys[1], (2, 4, 2)),
    }
    state = TX.init(trainable)
    _, state = TX.update(trainable, state, trainable)
    return {"trainable": trainable, "opt_state": state, "step": jnp.int32(step)}


def abstract(tree):
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def save(workdir, *steps, frozen=FROZEN, cfg=CFG):
    with Checkpointer(workdir, cfg) as ckpt:
        for step in steps:
            assert ckpt.save(step, make_state(step), frozen, META)


def assert_equal(a, b):
    assert jax.tree.structure(a) == jax.tree.structure(b)
    for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        assert x.dtype == y.dtype
        np.testing.assert_array_equal(np.asarray(x), np.asarray(y))


def damage(step_directory):
    """Halves every data file, as a disk that filled up or a machine that lost power would."""
    for path in sorted((step_directory / "state").rglob("d/*")):
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def test_round_trip_is_exact(tmp_path):
    save(tmp_path, 5)
    with Checkpointer(tmp_path, CFG) as ckpt:
        assert ckpt.latest_step() == 5
        state = ckpt.restore(abstract(make_state(0)))
        frozen = ckpt.restore_frozen(abstract(FROZEN))
        meta = ckpt.meta()
    assert_equal(state, make_state(5))
    assert_equal(frozen, FROZEN)
    assert all(meta[key] == value for key, value in META.items())
    assert meta["step"] == 5 and meta["frozen"] == content_hash(FROZEN)
    assert meta["versions"]["jax"] == jax.__version__


def test_only_due_steps_are_saved_unless_forced_and_old_ones_go(tmp_path):
    with Checkpointer(tmp_path, CFG) as ckpt:
        assert not ckpt.save(4, make_state(4), FROZEN, META)
        for step in (5, 10, 15):
            assert ckpt.save(step, make_state(step), FROZEN, META)
        assert not ckpt.save(17, make_state(17), FROZEN, META)
        assert ckpt.save(17, make_state(17), FROZEN, META, force=True)
        assert ckpt.save(17, make_state(17), FROZEN, META, force=True), "saving again is harmless"
        ckpt.wait()
        assert ckpt.latest_step() == 17
    names = {path.name for path in (tmp_path / "checkpoints").iterdir()}
    assert names == {"15", "17", "frozen"}


def test_frozen_leaves_are_stored_once_for_all_steps_and_restarts(tmp_path):
    save(tmp_path, 5, 10)
    folder = tmp_path / "checkpoints" / "frozen"
    (only,) = folder.iterdir()
    written = only.stat().st_mtime_ns
    # The same content in other arrays, from another process, is still the same content.
    save(tmp_path, 15, frozen=jax.tree.map(np.array, FROZEN))
    assert [path.stat().st_mtime_ns for path in folder.iterdir()] == [written]
    for step in (10, 15):
        assert_equal(
            {k: v for k, v in load_params(tmp_path, step)[0].items() if k in FROZEN}, FROZEN
        )
    changed = {**FROZEN, "params/heads/temperature": jnp.float32(0.08)}
    save(tmp_path, 20, frozen=changed)
    assert len(list(folder.iterdir())) == 2
    assert load_params(tmp_path)[0]["params/heads/temperature"] == np.float32(0.08)


def test_content_hash_sees_names_dtypes_shapes_and_bytes():
    leaf = np.arange(4, dtype=np.int32)
    variants = [
        {"a": leaf},
        {"b": leaf},
        {"a": leaf.view(np.uint32)},
        {"a": leaf.reshape(2, 2)},
        {"a": leaf + 1},
        {"a": leaf, "b": leaf},
        {},
    ]
    assert len({content_hash(v) for v in variants}) == len(variants)
    assert content_hash({"a": leaf, "b": leaf}) == content_hash({"b": jnp.array(leaf), "a": leaf})
    transposed = np.arange(6, dtype=np.float32).reshape(2, 3).T
    assert content_hash({"a": transposed}) == content_hash({"a": transposed.copy()})


def test_int8_kernels_are_scaled_by_column():
    kernel, scale = np.arange(4, dtype=np.int8).reshape(2, 2), np.array([10, 100], np.float32)
    name = "params/llm/lm_head/kernel"
    wanted = {name: jax.ShapeDtypeStruct((2, 2), np.float32)}
    found = unscaled({name: kernel, f"{name}_scale": scale}, wanted, epath.Path("frozen"))
    np.testing.assert_array_equal(found[name], [[0, 100], [20, 300]])


def test_a_run_without_frozen_leaves(tmp_path):
    save(tmp_path, 5, frozen={})
    with Checkpointer(tmp_path, CFG) as ckpt:
        assert ckpt.meta()["frozen"] is None
        assert ckpt.restore_frozen({}) == {}
        with pytest.raises(CheckpointError, match="params/vision/blocks/attn/qkv/kernel"):
            ckpt.restore_frozen(FROZEN)
    assert load_params(tmp_path)[0].keys() == make_state(5)["trainable"].keys()


def test_a_save_keeps_its_moment_though_the_next_step_reuses_the_buffers(tmp_path):
    step = jax.jit(lambda s: jax.tree.map(lambda x: x + 1, s), donate_argnums=0)
    state = make_state(5)
    expected = jax.tree.map(np.array, state)
    with Checkpointer(tmp_path, CFG) as ckpt:
        ckpt.save(5, state, FROZEN, META)
        for _ in range(3):
            state = step(state)
        ckpt.wait()
        assert_equal(ckpt.restore(abstract(expected)), expected)


@pytest.mark.parametrize("how", ["data", "meta", "state", "metadata"])
def test_a_damaged_latest_step_gives_way_to_the_one_before(tmp_path, caplog, how):
    save(tmp_path, 5, 10)
    latest = tmp_path / "checkpoints" / "10"
    match how:
        case "data":
            damage(latest)
        case "meta":
            (latest / "meta" / "metadata").write_text('{"config": ')
        case "state":
            shutil.rmtree(latest / "state")
        case "metadata":
            (latest / "state" / "_METADATA").write_text("{}")
    params, meta = load_params(tmp_path)
    assert meta["step"] == 5 and latest.exists(), "a reader moves nothing"
    assert "checkpoint 10 cannot be used" in caplog.text
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_params(tmp_path, 10)
    with Checkpointer(tmp_path, CFG) as ckpt:
        state = ckpt.restore(abstract(make_state(0)))
        assert_equal(state, make_state(5))
        assert "continuing from step 5" in caplog.text
        assert ckpt.latest_step() == 5
        assert [p.name for p in (tmp_path / "checkpoints/unreadable").iterdir()] == ["10-0"]
        assert ckpt.save(10, make_state(10), FROZEN, META), "the step can be saved again"
        ckpt.wait()
        assert_equal(ckpt.restore(abstract(make_state(0))), make_state(10))


def test_when_no_step_can_be_read_nothing_is_moved(tmp_path):
    save(tmp_path, 5, 10)
    for step in (5, 10):
        damage(tmp_path / "checkpoints" / str(step))
    with Checkpointer(tmp_path, CFG) as ckpt, pytest.raises(CheckpointError) as error:
        ckpt.restore(abstract(make_state(0)))
    assert "10" in error.value.where
    names = Counter(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert names == Counter(["5", "10", "frozen"])


def test_a_half_written_step_does_not_look_complete(tmp_path):
    save(tmp_path, 5)
    checkpoints = tmp_path / "checkpoints"
    code = """
import os, sys
from pathlib import Path
import jax.numpy as jnp
from zv_jax.config.schema import CheckpointConfig
from zv_jax.checkpoints.manager import Checkpointer

def die_instead(rename):
    # The process dies when all is written but not yet called a step.
    return lambda a, b, **k: os._exit(9) if Path(b).name == "10" else rename(a, b, **k)

os.rename, os.replace = die_instead(os.rename), die_instead(os.replace)
with Checkpointer(Path(sys.argv[1]), CheckpointConfig(every=5)) as ckpt:
    ckpt.save(10, {"trainable": {"params/a/kernel": jnp.ones((64, 64))}}, {}, {})
"""
    done = subprocess.run([sys.executable, "-c", code, str(tmp_path)], capture_output=True)
    assert done.returncode == 9, done.stderr.decode()
    (left,) = checkpoints.glob("10*")
    assert left.name != "10" and (left / "state").is_dir()
    assert load_params(tmp_path)[1]["step"] == 5
    with Checkpointer(tmp_path, CFG) as ckpt:
        assert_equal(ckpt.restore(abstract(make_state(0))), make_state(5))
        ckpt.save(10, make_state(10), FROZEN, META)
        ckpt.wait()
        assert not left.exists() and load_params(tmp_path)[1]["step"] == 10


def test_another_shape_is_an_error_that_names_the_leaf_and_moves_nothing(tmp_path):
    save(tmp_path, 5)
    wanted = abstract(make_state(0))
    wanted["trainable"]["params/projector/bias"] = jax.ShapeDtypeStruct((7,), jnp.float32)
    with Checkpointer(tmp_path, CFG) as ckpt:
        with pytest.raises(CheckpointError, match=r"params/projector/bias.*\(6,\)") as error:
            ckpt.restore(wanted)
        assert "(7,)" in error.value.expected
        frozen = abstract(FROZEN)
        frozen["params/heads/temperature"] = jax.ShapeDtypeStruct((1,), jnp.float32)
        with pytest.raises(CheckpointError, match="params/heads/temperature"):
            ckpt.restore_frozen(frozen)
        assert ckpt.latest_step() == 5
    assert not (tmp_path / "checkpoints/unreadable").exists()


def test_a_renamed_leaf_is_an_error_that_names_it(tmp_path):
    save(tmp_path, 5)
    wanted = abstract(make_state(0))
    wanted["trainable"]["params/projector/biass"] = wanted["trainable"]["params/projector/bias"]
    with Checkpointer(tmp_path, CFG) as ckpt:
        with pytest.raises(CheckpointError, match="trainable/params/projector/biass.*did you mean"):
            ckpt.restore(wanted)
        wanted = abstract(make_state(0))
        del wanted["trainable"]["params/projector/bias"]
        with pytest.raises(CheckpointError, match="projector/bias.*unknown to this model"):
            ckpt.restore(wanted)


def test_shardings_and_dtypes_of_the_target_are_obeyed(tmp_path):
    save(tmp_path, 5)
    mesh = Mesh(np.array(jax.devices()[:1]), ("data",))
    sharding = NamedSharding(mesh, PartitionSpec("data"))
    wanted = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(
            x.shape, x.dtype, sharding=sharding if x.ndim else NamedSharding(mesh, PartitionSpec())
        ),
        make_state(0),
    )
    name = "params/projector/kernel"
    with Checkpointer(tmp_path, CFG) as ckpt:
        state = ckpt.restore(wanted)
    assert state["trainable"][name].sharding == sharding
    assert_equal(state, make_state(5))
    only = {
        name: jax.ShapeDtypeStruct((4, 6), jnp.bfloat16, sharding=sharding),
        "params/heads/temperature": jax.ShapeDtypeStruct((), jnp.float32),
    }
    params, _ = load_params(tmp_path, only=only)
    assert list(params) == list(only)
    assert params[name].dtype == jnp.bfloat16 and params[name].sharding == sharding
    assert isinstance(params["params/heads/temperature"], np.ndarray)


def test_parameters_load_from_a_workdir_its_checkpoints_or_a_step(tmp_path):
    save(tmp_path, 5, 10)
    checkpoints = tmp_path / "checkpoints"
    for path, step in ((tmp_path, 10), (checkpoints, 10), (checkpoints / "5", 5)):
        params, meta = load_params(path)
        expected = {**make_state(step)["trainable"], **FROZEN}
        assert meta["step"] == step and params.keys() == expected.keys()
        for name, leaf in expected.items():
            assert isinstance(params[name], np.ndarray), name
            np.testing.assert_array_equal(params[name], np.asarray(leaf))
    shapes, _ = describe(tmp_path, 5)
    assert shapes["params/projector/kernel"].shape == (4, 6)


def test_checkpoints_may_lie_elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save("run", 5, cfg=CheckpointConfig(every=5, folder="big_disk/run"))
    assert not (tmp_path / "run").exists()
    assert load_params("big_disk/run")[1]["step"] == 5
    assert str(located("gs://bucket/run") / "5") == "gs://bucket/run/5"


@pytest.mark.parametrize("step", [None, 7])
def test_no_checkpoint_is_a_clear_error(tmp_path, step):
    if step:
        save(tmp_path, 5)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_params(tmp_path, step)
    with pytest.raises(CheckpointError, match="no checkpoint"):
        load_params(tmp_path / "nowhere")
    with Checkpointer(tmp_path / "new", CFG) as ckpt:
        assert ckpt.latest_step() is None
        with pytest.raises(CheckpointError, match="no checkpoint to restore"):
            ckpt.restore({})


def test_damaged_or_missing_frozen_leaves_are_found_out(tmp_path):
    save(tmp_path, 5)
    (folder,) = (tmp_path / "checkpoints/frozen").iterdir()
    other = {**FROZEN, "params/heads/temperature": jnp.float32(0.5)}
    save(tmp_path / "other", 5, frozen=other)
    shutil.rmtree(folder)
    with pytest.raises(CheckpointError, match="frozen parameters.*missing"):
        load_params(tmp_path)
    (wrong,) = (tmp_path / "other/checkpoints/frozen").iterdir()
    shutil.copytree(wrong, folder)
    with pytest.raises(CheckpointError, match="hash in their name"):
        load_params(tmp_path)


def test_a_newer_format_is_refused(tmp_path):
    save(tmp_path, 5)
    path = tmp_path / "checkpoints/5/meta/metadata"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(CheckpointError, match="format 99") as error:
        load_params(tmp_path)
    assert "update" in error.value.fix


def test_a_workdir_that_cannot_be_made_is_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match="cannot be written"):
        Checkpointer(tmp_path / "file", CFG)


@pytest.mark.parametrize(
    "error, words",
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left"),
        (OSError(errno.EROFS, "Read-only file system"), "read-only"),
        (ValueError("RESOURCE_EXHAUSTED: Error writing: No space left on device"), "no space left"),
        (ValueError("Failed: Read-only file system [OS error 30]"), "read-only"),
    ],
)
def test_a_full_or_read_only_disk_is_one_clear_error(tmp_path, monkeypatch, error, words):
    def fail(*_, **__):
        raise RuntimeError("save failed") from error

    with Checkpointer(tmp_path, CFG) as ckpt:
        monkeypatch.setattr(ocp.CheckpointManager, "save", fail)
        with pytest.raises(CheckpointError, match=words) as raised:
            ckpt.save(5, make_state(5), FROZEN, META)
    assert raised.value.where and raised.value.fix and "\n" not in raised.value.what
