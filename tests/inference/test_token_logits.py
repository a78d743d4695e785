"""What is left of logits: no sorting, and yet the masks that sorting gives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.inference.logits import Rules, allowed, nucleus, penalised


@jax.jit
def _cut(*given):
    return nucleus(*given)


def left(logits, top_p=1.0, top_k=0, min_p=0.0):
    """bool [B, V]: what may be drawn."""
    given = (jnp.asarray(x) for x in (logits, top_p, top_k, min_p))
    return np.isfinite(np.asarray(_cut(*given)))


def sorted_mask(logits, top_p=1.0, top_k=0, min_p=0.0):
    """bool [V]: the same by sorting, one row."""
    order = np.argsort(-logits, kind="stable")
    kept = order[: top_k or None]
    p = np.exp(logits[kept].astype(np.float64) - logits.max())
    p /= p.sum()
    before = np.cumsum(p) - p
    kept = kept[before < top_p]
    kept = kept[logits[kept] >= logits.max() + np.log(max(min_p, 1e-30))]
    return np.isin(np.arange(len(logits)), kept)


@pytest.mark.parametrize("scale", [1.0, 8.0])
@pytest.mark.parametrize(
    "given",
    [
        {"top_p": 0.9}, {"top_p": 0.3}, {"top_p": 1e-6}, {"top_k": 1}, {"top_k": 50},
        {"top_p": 0.8, "top_k": 20}, {"min_p": 0.1}, {"top_p": 0.95, "min_p": 0.05}, {},
    ],
)  # fmt: skip
def test_masks_are_those_of_sorting(scale, given):
    logits = scale * np.random.default_rng(0).standard_normal((6, 3000)).astype(np.float32)
    expected = np.stack([sorted_mask(row, **given) for row in logits])
    np.testing.assert_array_equal(left(logits, **given), expected)


def test_each_row_may_have_numbers_of_its_own():
    logits = np.random.default_rng(1).standard_normal((3, 200)).astype(np.float32)
    numbers = [0.5, 1.0, 0.9], [0, 7, 0], [0.0, 0.0, 0.2]
    kept = left(logits, *map(np.array, numbers))
    for row, mask, own in zip(logits, kept, zip(*numbers, strict=True), strict=True):
        np.testing.assert_array_equal(mask, sorted_mask(row, *own))


def test_what_is_excluded_or_tied_stays_so():
    logits = np.array([[-np.inf, 1.0, 1.0, 0.0, -np.inf]], np.float32)
    for settings in ({"top_k": 1}, {"top_p": 0.1}, {"min_p": 0.9}):
        assert left(logits, **settings).tolist() == [[False, True, True, False, False]]
    assert left(logits).tolist() == [[False, True, True, True, False]]


def test_draws_follow_the_distribution_that_is_left():
    """Chi-squared of 20,000 draws over the 7 words of the nucleus; 27.9 is its limit at 1e-4."""
    p = np.array([0.3, 0.2, 0.15, 0.1, 0.08, 0.05, 0.04, 0.03, 0.03, 0.02])
    cut = _cut(jnp.log(jnp.asarray(p, jnp.float32))[None], 0.9, 0, 0.0)[0]
    draws = jax.random.categorical(jax.random.key(0), cut, shape=(20_000,))
    counts = np.bincount(draws, minlength=10)
    assert counts[7:].sum() == 0
    expected = 20_000 * p[:7] / p[:7].sum()
    assert ((counts[:7] - expected) ** 2 / expected).sum() < 27.9


def test_only_what_was_said_is_penalised_and_only_once():
    logits = jnp.array([[2.0, -2.0, 1.0, 4.0], [2.0, -2.0, 1.0, 4.0]])
    tokens = jnp.array([[0, 1, 0, 3], [2, 0, 0, 0]])  # of the second row one token is known
    found = penalised(logits, tokens, jnp.array([[3], [1]]), 2.0)
    assert found.tolist() == [[1.0, -4.0, 1.0, 4.0], [2.0, -2.0, 0.5, 4.0]]


def test_an_end_waits_for_its_time_and_the_placeholder_never_comes():
    rules = Rules(jnp.array([1]), 0, 3, min_new_tokens=2)
    logits, said = jnp.zeros((1, 4)), jnp.zeros((1, 5), jnp.int32)
    open_ = [np.isfinite(allowed(logits, said, step, rules))[0].tolist() for step in (1, 2)]
    assert open_ == [[True, False, True, False], [True, True, True, False]]
