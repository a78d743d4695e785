"""The two errors of the vision warm-up."""

import jax
import jax.numpy as jnp
import numpy as np

from zv_jax.warmup.losses import multi_label_cross_entropy, relative_squared_error

RNG = np.random.default_rng(0)
TARGET = jnp.asarray(RNG.standard_normal((2, 4, 8)), jnp.float32)
WORDS = jnp.array([[[3, 5, -1], [2, -1, -1]], [[0, 1, 4], [-1, -1, -1]]])


def mean(term):
    total, weight = term
    return float(total / weight)


def test_the_target_has_no_error_and_zeros_have_all_of_it():
    assert mean(relative_squared_error(TARGET, TARGET)) == 0
    assert mean(relative_squared_error(jnp.zeros_like(TARGET), TARGET)) == 1


def test_half_the_target_leaves_a_quarter_however_long_each_symbol_is():
    lengths = jnp.array([0.1, 1.0, 10.0, 100.0])[:, None]
    np.testing.assert_allclose(
        mean(relative_squared_error(lengths * TARGET / 2, lengths * TARGET)), 0.25
    )


def test_a_symbol_of_zeros_adds_nothing():
    silent = TARGET.at[0, 1].set(0)
    total, weight = relative_squared_error(TARGET, silent)
    assert (float(total), float(weight)) == (0, 7)


def test_the_gradient_is_finite_where_a_symbol_is_zero():
    def loss(said):
        return relative_squared_error(said, TARGET.at[0, 1].set(0))[0]

    gradient = jax.grad(loss)(jnp.ones_like(TARGET))
    assert np.isfinite(gradient).all() and not gradient[0, 1].any()


def test_words_are_expected_evenly():
    logits = RNG.standard_normal((2, 2, 7))
    logp = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    by_hand = [
        -(logp[0, 0, 3] + logp[0, 0, 5]) / 2,
        -logp[0, 1, 2],
        -(logp[1, 0, 0] + logp[1, 0, 1] + logp[1, 0, 4]) / 3,
    ]
    total, weight = multi_label_cross_entropy(jnp.asarray(logits, jnp.float32), WORDS)
    np.testing.assert_allclose(total, sum(by_hand), rtol=1e-6)
    assert weight == 3


def test_half_precision_is_summed_in_float32():
    half = TARGET.astype(jnp.bfloat16)
    for term in (
        relative_squared_error(half * 0, half),
        multi_label_cross_entropy(half[:, :2], WORDS),
    ):
        assert all(part.dtype == jnp.float32 for part in term)
