"""Where the language warm-up starts."""

import jax.numpy as jnp
import numpy as np

from zv_jax.models.presets import LlamaConfig
from zv_jax.warmup.start import copying_output, warm_up_start

TABLE, OUTPUT = "params/llm/embed/embedding", "params/llm/layers/attn/o/kernel"
OTHERS = ("params/llm/layers/attn/v/kernel", "params/llm/norm/scale", "params/projector/kernel")
CONFIG = LlamaConfig(width=8, heads=2, kv_heads=1, layers=3)


def test_a_warm_up_starts_with_large_words_and_copying_heads():
    rng = np.random.default_rng(0)
    shapes = [(11, 8), (3, 8, 8), (3, 8, 4), (8,), (6, 8)]
    leaves = {
        path: jnp.asarray(rng.standard_normal(shape), jnp.float32)
        for path, shape in zip((TABLE, OUTPUT, *OTHERS), shapes, strict=True)
    }
    start = warm_up_start(leaves, CONFIG)
    changed = {path for path in leaves if not np.array_equal(leaves[path], start[path])}
    assert changed == {TABLE, OUTPUT}
    assert {p: x.shape for p, x in start.items()} == {p: x.shape for p, x in leaves.items()}
    np.testing.assert_allclose(start[TABLE], 16 * leaves[TABLE], rtol=1e-6)


def test_copying_output_returns_what_a_head_attends_to():
    cfg = LlamaConfig(width=256, heads=4, kv_heads=2, layers=3)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((3, 256, 128)).astype(np.float32) / 16
    output = np.asarray(copying_output(jnp.asarray(values), cfg))
    assert output.shape == (3, 256, 256)
    x = rng.standard_normal((256,))
    for value, out in zip(values, output, strict=True):
        heads = np.repeat((x @ value).reshape(2, 64), 2, 0).reshape(-1)  # as queries share heads
        passed = heads @ out
        cosine = passed @ x / np.linalg.norm(passed) / np.linalg.norm(x)
        assert cosine > 0.5
