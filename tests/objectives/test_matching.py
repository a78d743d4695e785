import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.objectives import itm, sample_negatives
from zv_jax.objectives.matching import PRIOR

SIMS = jnp.asarray(np.random.default_rng(2).uniform(-1, 1, (6, 6)), jnp.float32)
IDS = jnp.array([4, 9, 4, 1, 0, 9])
TAU = 0.5


def draws(sims, ids, negatives="hard", count=4000):
    keys = jax.random.split(jax.random.key(5), count)
    sample = jax.jit(jax.vmap(lambda key: sample_negatives(key, sims, TAU, ids, negatives)))
    return [np.asarray(part) for part in sample(keys)]


@pytest.mark.parametrize("negatives", ["hard", "random"])
@pytest.mark.parametrize("ids", [None, IDS])
def test_a_negative_is_never_a_positive(ids, negatives):
    """Even when the positive is by far the most similar."""
    known = np.arange(6) if ids is None else np.asarray(ids)
    for drawn in draws(SIMS + 50 * (known[:, None] == known[None]), ids, negatives, 500):
        assert (known[drawn] != known[None]).all()


def test_hard_negatives_follow_the_softmax():
    for_text, for_image = draws(SIMS, IDS)
    same = np.asarray(IDS)[:, None] == np.asarray(IDS)[None]
    for drawn, sims in ((for_image, SIMS), (for_text, SIMS.T)):
        weights = np.exp(np.asarray(sims, np.float64) / TAU) * ~same
        weights /= weights.sum(1, keepdims=True)
        counts = np.stack([np.bincount(column, minlength=6) for column in drawn.T])
        expected = weights * len(drawn)
        possible = expected > 0
        chi2 = np.sum((counts - expected)[possible] ** 2 / expected[possible])
        freedom = possible.sum() - 6
        assert chi2 < freedom + 4 * np.sqrt(2 * freedom)
        assert not counts[~possible].any()


def test_random_negatives_are_uniform():
    for_text, for_image = draws(SIMS, None, "random")
    for drawn in (for_text, for_image):
        counts = np.stack([np.bincount(column, minlength=6) for column in drawn.T])
        share = counts[~np.eye(6, dtype=bool)] / len(drawn)
        np.testing.assert_allclose(share, 0.2, atol=0.03)


def test_both_directions_are_drawn_apart():
    for_text, for_image = draws(jnp.zeros((6, 6)), None, count=200)
    assert (for_text != for_image).any()


def test_one_row_has_no_negative():
    with pytest.raises(ValueError, match="at least 2 pairs"):
        sample_negatives(jax.random.key(0), jnp.zeros((1, 1)), TAU)


def test_loss_is_cross_entropy_over_the_weighted_rows():
    logits = np.random.default_rng(0).standard_normal((5, 2)).astype(np.float32)
    labels, weights = np.array([1, 0, 0, 1, 0]), np.array([1.0, 1.0, 0.0, 1.0, 1.0])
    log_p = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    expected = -sum(w * row[y] for w, row, y in zip(weights, log_p, labels, strict=True))
    total, weight = itm(jnp.asarray(logits), jnp.asarray(labels), jnp.asarray(weights))
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert weight == 4


def test_prior_is_the_loss_of_a_head_that_sees_nothing():
    """The best constant answer when one pair in three matches."""
    logits = jnp.tile(jnp.log(jnp.array([2 / 3, 1 / 3])), (6, 1))
    total, weight = itm(logits, jnp.array([1, 1, 0, 0, 0, 0]), jnp.ones(6))
    np.testing.assert_allclose(total / weight, PRIOR, rtol=1e-6)
