"""Checkpoints of our own format that others made: kinds, places and numbers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.checkpoints import arrays as leaves
from zv_jax.checkpoints import reader as stored
from zv_jax.checkpoints.manager import Checkpointer
from zv_jax.config.schema import CheckpointConfig
from zv_jax.convert import own_checkpoint
from zv_jax.errors import CheckpointError

LARGE = "params/llm/a/kernel"


@pytest.fixture
def run(tmp_path):
    """A checkpoint with a number beyond float16 among its frozen leaves, and one that fits."""
    frozen = {LARGE: jnp.array([1.0, 1e5]), "params/llm/b/kernel": jnp.array([1.0, jnp.inf])}
    with Checkpointer(tmp_path, CheckpointConfig(every=1)) as saver:
        state = {"trainable": {"params/vision/a/kernel": jnp.ones(2)}}
        saver.save(1, state, frozen, {"config": {}}, force=True)
    return tmp_path


@pytest.fixture
def meta(run):
    """`meta(**fields)` changes the JSON of the step."""
    path = run / "checkpoints/1/meta/metadata"

    def change(**fields) -> None:
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


@pytest.mark.parametrize("placed", [False, True])
def test_a_number_beyond_the_dtype_is_refused_and_named(run, placed):
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0]) if placed else None

    def load(name, dtype):
        wanted = {name: jax.ShapeDtypeStruct((2,), dtype, sharding=device)}
        return np.asarray(stored.load_params(run, 1, wanted)[0][name], np.float32)

    with pytest.raises(CheckpointError, match="the value 100000 of .* becomes infinite in float16"):
        load(LARGE, jnp.float16)
    np.testing.assert_allclose(load(LARGE, jnp.bfloat16), [1, 1e5], rtol=1e-2)
    assert load("params/llm/b/kernel", jnp.float16)[1] == np.inf, "it was infinite before"


@pytest.mark.parametrize("frozen", ["../../..", "/etc", "", 5, ["a"], "0123456789ABCDEF"])
def test_frozen_leaves_are_read_from_their_own_folder_only(run, meta, frozen):
    meta(frozen=frozen)
    with pytest.raises(leaves.UnreadableError, match="its frozen is"):
        stored.load_params(run, 1)


@pytest.mark.parametrize("fields", [{"format": "2"}, {"format": None}, {"step": -1}, {"step": "1"}])
def test_what_the_program_itself_writes_is_checked(run, meta, fields):
    meta(**fields)
    with pytest.raises(leaves.UnreadableError):
        stored.describe(run)


@pytest.mark.parametrize("text", ["[1]", "5", "[" * 100_000, '{"format": 2}', "\x00"])
def test_a_meta_of_another_kind(run, text):
    (run / "checkpoints/1/meta/metadata").write_text(text)
    with pytest.raises(leaves.UnreadableError):
        stored.describe(run)


@pytest.mark.parametrize(
    "fields",
    [
        {"config": 5},
        {"config": {"data": [1]}},
        {"config": {"model": "x"}},
        {"config": {"model": {"vision": {"heads": 0}}}},
        {"config": {"model": {"unknown": 1}}},
        {"config": {"model": {"lora": {"targets": "("}}}},
        {"config": {"model": {"lora": {"targets": "(.|.)*x"}}}},
        {"config": {"model": {"lora": {"targets": "([a-z/]+)+x"}}}},
        {"config": {"model": {"lora": {"targets": "(a{1,9}){1,99}"}}}},
        {"config": {"model": {"lora": {"targets": ".*" * 20 + "x"}}}},
        {"tokenizers": 5},
        {"tokenizers": [5, 5]},
        {"tokenizers": ["a"]},
        {"provenance": "x"},
    ],
    ids=str,
)
def test_what_a_run_adds_is_checked_where_it_is_used(run, meta, fields):
    meta(**fields)
    with pytest.raises(CheckpointError):
        own_checkpoint.open_checkpoint(run)
