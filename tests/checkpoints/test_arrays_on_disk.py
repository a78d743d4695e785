"""How arrays lie on the disk: one layer of a large stacked leaf can be read without the others."""

import jax
import numpy as np
import orbax.checkpoint as ocp
import tensorstore as ts

from zv_jax.checkpoints import arrays as leaves
from zv_jax.checkpoints.manager import Checkpointer, load_params
from zv_jax.config.schema import CheckpointConfig
from zv_jax.convert import stream
from zv_jax.convert.stream import Leaf

LAYERS, SHAPE = 8, (512, 512)
NAME, FROZEN, SMALL = "params/llm/layers/up/kernel", "params/llm/layers/down/kernel", "params/b"
CFG = CheckpointConfig(every=5, keep=2)


def values(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((LAYERS, *SHAPE)).astype(np.float32)


def state(seed: int) -> dict:
    trainable = {NAME: values(seed), SMALL: values(seed)[0, :2, :3, None] * np.ones(2, np.float32)}
    return {"trainable": trainable, "opt_state": {"mu": {NAME: values(seed + 1)}}}


def save(workdir, step: int = 5, seed: int = 0) -> None:
    with Checkpointer(workdir, CFG) as checkpoints:
        assert checkpoints.save(step, state(seed), {FROZEN: values(9)}, {"config": {}})


def stored(directory, name: str) -> ts.TensorStore:
    """A leaf as TensorStore sees it, none of it read."""
    store = {"driver": "ocdbt", "base": f"file://{directory}/", "path": f"{_dotted(name)}/"}
    return ts.open({"driver": "zarr", "kvstore": store}, open=True).result()


def _dotted(name: str) -> str:
    return name.replace("/", ".")


def bytes_read() -> int:
    (metric,) = ts.experimental_collect_matching_metrics("/tensorstore/kvstore/file/bytes_read")
    return sum(part["value"] for part in metric["values"])


def one_layer(directory, name: str) -> np.ndarray:
    """Layer 3, after a check that no more than about one layer was read from the disk."""
    leaf = stored(directory, name)
    before = bytes_read()
    layer = leaf[3].read().result()
    assert bytes_read() - before < 1.2 * layer.nbytes
    return layer


def test_one_layer_of_a_training_checkpoint_is_read_alone(tmp_path):
    save(tmp_path)
    step = tmp_path / "checkpoints" / "5" / "state"
    (frozen,) = (tmp_path / "checkpoints" / "frozen").iterdir()
    np.testing.assert_array_equal(one_layer(step, f"trainable/{NAME}"), values(0)[3])
    np.testing.assert_array_equal(one_layer(step, f"opt_state/mu/{NAME}"), values(1)[3])
    np.testing.assert_array_equal(one_layer(frozen, FROZEN), values(9)[3])
    small = stored(step, f"trainable/{SMALL}")  # its own chunks would be tiny
    assert small.chunk_layout.read_chunk.shape == small.shape == (2, 3, 2)


def test_converted_checkpoints_lie_in_the_same_way(tmp_path):
    whole = values(2)
    pieces = tuple(lambda i=i: whole[i] for i in range(LAYERS))
    leaf = Leaf(whole.shape, whole.dtype, pieces, stacked=True)
    stream.write_checkpoint(tmp_path, {NAME: leaf}, {"config": {}})
    step = tmp_path / "checkpoints" / "0" / "state"
    np.testing.assert_array_equal(one_layer(step, f"trainable/{NAME}"), whole[3])
    np.testing.assert_array_equal(load_params(tmp_path)[0][NAME], whole)


def test_checkpoints_from_before_are_restored_and_continued(tmp_path, monkeypatch):
    """They have one chunk for each leaf, frozen ones too."""
    with monkeypatch.context() as before:
        before.setattr(leaves, "to_save", lambda named: ocp.args.PyTreeSave(leaves.nested(named)))
        save(tmp_path)
    old = stored(tmp_path / "checkpoints" / "5" / "state", f"trainable/{NAME}")
    assert old.chunk_layout.read_chunk.shape == old.shape
    abstract = jax.tree.map(leaves.spec, state(0))
    save(tmp_path, 10, seed=4)
    with Checkpointer(tmp_path, CFG) as checkpoints:
        for step, seed in ((5, 0), (10, 4)):
            jax.tree.map(
                np.testing.assert_array_equal, checkpoints.restore(abstract, step), state(seed)
            )
            frozen = checkpoints.restore_frozen({FROZEN: leaves.spec(values(9))}, step)
            np.testing.assert_array_equal(frozen[FROZEN], values(9))


SHARDED = """
import sys

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.sharding import NamedSharding, PartitionSpec

from zv_jax.checkpoints import arrays as leaves

mesh = jax.make_mesh((2,), ("fsdp",))
value = np.random.default_rng(0).standard_normal((8, 512, 512)).astype(np.float32)
for name, spec in (("inside", (None, "fsdp")), ("layers", ("fsdp",))):
    leaf = jax.device_put(value, NamedSharding(mesh, PartitionSpec(*spec)))
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
        orbax.save(f"{sys.argv[1]}/{name}", args=leaves.to_save({"a/kernel": leaf}))
"""


def test_leaves_of_a_mesh_have_chunks_of_one_layer_too(tmp_path, fresh_python):
    script = tmp_path / "save.py"
    script.write_text(SHARDED)
    done = fresh_python(str(script), str(tmp_path), devices=2)
    assert done.returncode == 0, done.stderr
    for split, chunk in (("inside", (1, 256, 512)), ("layers", (1, 512, 512))):
        assert stored(tmp_path / split, "a/kernel").chunk_layout.read_chunk.shape == chunk
        np.testing.assert_array_equal(one_layer(tmp_path / split, "a/kernel"), values(0)[3])
