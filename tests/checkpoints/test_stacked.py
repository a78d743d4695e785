"""Large leaves are read some layers at a time: the same values, and little memory beside them."""

import numpy as np
import orbax.checkpoint as ocp
import pytest
from etils import epath

from zv_jax.checkpoints import arrays as leaves
from zv_jax.checkpoints import stacked

PROGRAM = """
import resource, sys
import jax, numpy as np
from etils import epath
from zv_jax.checkpoints import arrays as leaves

directory = epath.Path(sys.argv[1])
wanted = leaves.describe(directory)
leaves.read(directory, {"small": wanted["small"]})  # everything is loaded now
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
found = leaves.read(directory, wanted)
print((peak() - before) / found["large"].nbytes)
"""


@pytest.fixture
def saved(tmp_path):
    def save(**named: np.ndarray) -> epath.Path:
        directory = epath.Path(tmp_path) / "state"
        how = {
            name: ocp.SaveArgs(chunk_byte_size=value.nbytes // len(value))
            for name, value in named.items()
        }
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as orbax:
            orbax.save(directory, args=ocp.args.PyTreeSave(named, save_args=how))
        return directory

    return save


@pytest.mark.parametrize("window", [1, 100, 600, 1 << 28], ids=lambda n: f"window{n}")
def test_the_values_do_not_depend_on_the_window(saved, monkeypatch, window):
    monkeypatch.setattr(stacked, "_WINDOW", window)
    draw = np.random.default_rng(0)
    named = {"a": draw.standard_normal((7, 4, 5), np.float32), "b": np.arange(300, dtype=np.int32)}
    directory = saved(**named)
    for dtype in (np.float32, np.float16):
        wanted = leaves.describe(directory)
        wanted["a"] = wanted["a"].update(dtype=dtype)
        found = leaves.read(directory, wanted)
        np.testing.assert_array_equal(found["a"], named["a"].astype(dtype))
        np.testing.assert_array_equal(found["b"], named["b"])


@pytest.mark.slow
def test_reading_takes_little_more_memory_than_the_leaf(saved, fresh_python):
    large = np.random.default_rng(0).standard_normal((40, 4096, 2048), np.float32)  # 1.3 GB
    directory = saved(large=large, small=np.zeros((2, 2, 2), np.float32))
    done = fresh_python("-c", PROGRAM, str(directory))
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 1.4
