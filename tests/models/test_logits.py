"""Logits are float32 as they were summed up, whatever weights and activations are stored in."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.models.layers import float32_matmul, matmul
from zv_jax.models.presets import preset

BFLOAT16 = dict(dtype="bfloat16", param_dtype="bfloat16")
ROWS, MASK = jnp.arange(4, 16).reshape(2, 6), jnp.ones((2, 6), bool)


def share_of_bfloat16_numbers(values) -> float:
    assert values.dtype == np.float32
    return float(np.mean(np.asarray(values) == np.asarray(values).astype(jnp.bfloat16)))


@pytest.fixture(scope="module")
def tiny(make_tiny):
    """`tiny(tied)`: Chat in bfloat16, weights and activations."""
    llm = preset("tiny_chat").llm
    made = {
        tied: make_tiny("tiny_chat", llm=dataclasses.replace(llm, tie_embeddings=tied), **BFLOAT16)
        for tied in (False, True)
    }
    return made.get


@pytest.mark.parametrize("tied", [False, True])
def test_words_of_the_language_model(tiny, tied, rng):
    hidden = jnp.asarray(4 * rng.standard_normal((2, 6, 48)), jnp.bfloat16)
    logits = tiny(tied)(lambda model, x: model.llm.logits(x), hidden)
    assert share_of_bfloat16_numbers(logits) < 0.1
    assert share_of_bfloat16_numbers(tiny(tied)("__call__", None, ROWS, MASK)) < 0.1


def test_words_and_heads_of_the_qformer(tiny, rng):
    model = tiny(False)
    queries = jnp.asarray(rng.standard_normal((2, 4, 32)), jnp.bfloat16)
    features = jnp.asarray(rng.standard_normal((2, 5, 32)), jnp.bfloat16)
    assert share_of_bfloat16_numbers(model("caption", features, ROWS, MASK)[1]) < 0.1
    for head in ("itm", "vision_proj", "text_proj"):  # matching; both sides of the contrast
        values = model(lambda model, x, head=head: getattr(model.heads, head)(x), queries)
        assert share_of_bfloat16_numbers(values) < 0.1, head


def test_the_gradient_is_that_of_any_other_layer(rng):
    x, kernel = (rng.standard_normal(shape, np.float32) for shape in ((3, 4, 8), (8, 16)))
    for dtype in (jnp.float32, jnp.bfloat16):
        pair = jnp.asarray(x, dtype), jnp.asarray(kernel, dtype)
        wide, back = jax.vjp(float32_matmul, *pair)
        narrow, plainly = jax.vjp(matmul, *pair)
        np.testing.assert_array_equal(wide.astype(dtype), narrow)
        jax.tree.map(np.testing.assert_array_equal, back(wide), plainly(narrow))
