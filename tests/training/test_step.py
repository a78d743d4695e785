"""One optimiser step in every stage and variant, on tiny models and made-up batches."""

import jax
import numpy as np
import pytest
from synthetic import batch, on_devices, start, tiny

from zv_jax.config import MeshConfig
from zv_jax.sharding import make_mesh, on_mesh
from zv_jax.training.stages import stage_of

CASES = [
    ("language", "base", {}),
    ("vision", "base", {}),
    ("stage0", "base", {"train_vision": True, "itc_gather_grad": False}),
    ("stage0", "chat", {"itm_pairs": "single", "itm_negatives": "random"}),
    ("stage1", "base", {}),
    ("stage1", "chat", {}),
    ("stage2", "base", {}),
    ("stage2", "chat", {}),
]


@pytest.fixture(autouse=True, scope="module")
def _quick_compilation():
    """Compilation is most of the time of these tests; the arithmetic is the same."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


def host(tree):
    """A copy that no donation can take away."""
    return jax.tree.map(lambda leaf: np.array(leaf), tree)


@pytest.mark.parametrize("name, variant, more", CASES)
def test_eight_steps(name, variant, more):
    """Finite, falling, frozen leaves untouched, compiled once, the same bits again."""
    config = tiny(name, variant, **more)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    with on_mesh(mesh):
        leaves, state, step = start(config, mesh)
        first, frozen = host(state), host(leaves.frozen)
        rows = on_devices(batch(stage_of(config).batch), mesh)
        history = []
        for _ in range(8):
            state, metrics = step(state, leaves.frozen, rows)
            history.append(host(metrics))
            if len(history) == 2:
                second = host(state)
        again = jax.tree.map(lambda leaf, like: jax.device_put(leaf, like.sharding), first, state)
        for _ in range(2):
            again, _ = step(again, leaves.frozen, rows)
    assert step._cache_size() == 1
    assert all(np.isfinite(value).all() for row in history for value in row.values())
    losses = [float(row["loss"]) for row in history]
    assert losses[-1] < losses[0] and min(losses) < losses[0] - 1e-3, losses
    assert losses[0] == pytest.approx(
        sum(float(history[0][term]) for term in stage_of(config).losses), rel=1e-6
    )
    assert int(state["step"]) == 8
    for path, leaf in frozen.items():
        np.testing.assert_array_equal(leaves.frozen[path], leaf, err_msg=path)
    for path, leaf in second["trainable"].items():
        if path.endswith(("kernel", "embedding", "query_tokens", "lora_a", "lora_b")):
            assert (leaf != first["trainable"][path]).any(), path
    jax.tree.map(np.testing.assert_array_equal, host(again), second)
