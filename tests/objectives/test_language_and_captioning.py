import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.objectives import itg, lm_loss
from zv_jax.objectives.captioning import decoder_inputs
from zv_jax.objectives.language import cross_entropy, labelled_positions, next_token

V = 11
RNG = np.random.default_rng(4)
LOGITS = jnp.asarray(RNG.standard_normal((4, 6, V)), jnp.float32)
# Prompt, answer of two tokens and end, padding; two answers; no answer; everything labelled.
LABELS = jnp.array(
    [
        [-100, -100, 5, 6, 2, -100],
        [-100, 3, 2, -100, 4, 2],
        [-100] * 6,
        [1, 2, 3, 4, 5, 6],
    ]
)


def log_softmax(x) -> np.ndarray:
    x = np.asarray(x, np.float64)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.5])
def test_smoothing_mixes_the_target_with_all_classes(smoothing):
    targets = RNG.integers(0, V, (4, 6))
    weights = RNG.random((4, 6))
    log_p = log_softmax(LOGITS)
    picked = np.take_along_axis(log_p, targets[..., None], -1)[..., 0]
    loss = -(1 - smoothing) * picked - smoothing * log_p.mean(-1)
    total, weight = cross_entropy(LOGITS, jnp.asarray(targets), jnp.asarray(weights), smoothing)
    np.testing.assert_allclose(total, (loss * weights).sum(), rtol=1e-6)
    np.testing.assert_allclose(weight, weights.sum(), rtol=1e-6)


def test_unweighted_targets_may_be_anything():
    weights = jnp.array([1.0, 0.0])
    total, _ = cross_entropy(LOGITS[0, :2], jnp.array([3, -100]), weights, 0.1)
    other, _ = cross_entropy(LOGITS[0, :2], jnp.array([3, 10**6]), weights, 0.1)
    assert np.isfinite(total) and total == other


def test_large_logits_stay_finite():
    total, _ = cross_entropy(jnp.array([[1e4, -1e4]]), jnp.array([1]), jnp.ones(1), 0.1)
    np.testing.assert_allclose(total, 0.95 * 2e4, rtol=1e-6)


def test_lm_loss_counts_answers_only():
    log_p, expected, count = log_softmax(LOGITS), 0.0, 0
    for b in range(4):
        for t in range(1, 6):
            if LABELS[b, t] >= 0:  # the token at t is predicted from t - 1
                expected -= log_p[b, t - 1, int(LABELS[b, t])]
                count += 1
    total, weight = lm_loss(LOGITS, LABELS)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert weight == count == 12
    gradient = np.asarray(jax.grad(lambda x: lm_loss(x, LABELS)[0])(LOGITS))
    reached = np.abs(gradient).max(-1) > 0
    np.testing.assert_array_equal(reached[:, :-1], np.asarray(LABELS[:, 1:] >= 0))
    assert not reached[:, -1].any()


def test_labelled_positions_give_the_same_loss_on_fewer_rows():
    where, targets, weights = labelled_positions(LABELS, 5)
    assert where.shape == targets.shape == weights.shape == (4, 5)
    np.testing.assert_array_equal(weights.sum(1), [3, 4, 0, 5])
    np.testing.assert_array_equal(where[0, :3], [1, 2, 3])
    np.testing.assert_array_equal(targets[1, :4], [3, 2, 4, 2])
    picked = jnp.take_along_axis(LOGITS, where[..., None], 1)
    np.testing.assert_allclose(
        cross_entropy(picked, targets, weights), lm_loss(LOGITS, LABELS), rtol=1e-6
    )


def test_next_token_never_takes_the_first_label():
    targets, weights = next_token(LABELS)
    assert targets.shape == (4, 5) and weights[3].sum() == 5


def test_itg_shifts_and_ignores_padding():
    ids = jnp.array(
        [[3, 7, 8, 4, 0, 0], [3, 9, 10, 1, 2, 4], [3, 4, 0, 0, 0, 0], [3, 1, 1, 1, 4, 0]]
    )
    lengths = [4, 6, 2, 5]
    mask = jnp.arange(6)[None] < jnp.array(lengths)[:, None]
    log_p, expected = log_softmax(LOGITS), 0.0
    for b, length in enumerate(lengths):
        for t in range(1, length):  # the end token is predicted, the first token is not
            row = log_p[b, t - 1]
            expected += 0.9 * -row[int(ids[b, t])] + 0.1 * -row.mean()
    total, weight = itg(LOGITS, ids, mask)
    np.testing.assert_allclose(total, expected, rtol=1e-6)
    assert weight == sum(lengths) - 4
    changed = itg(LOGITS, jnp.where(mask, ids, 5), mask)
    np.testing.assert_array_equal(changed[0], total)


def test_decoder_inputs_replace_the_first_token_alone():
    ids = jnp.arange(8).reshape(2, 4)
    np.testing.assert_array_equal(decoder_inputs(ids, 99), [[99, 1, 2, 3], [99, 5, 6, 7]])


@pytest.mark.parametrize(
    "term",
    [
        lambda rows: lm_loss(LOGITS[rows], LABELS[rows]),
        lambda rows: itg(LOGITS[rows], jnp.abs(LABELS[rows]) % V, LABELS[rows] > -100),
    ],
    ids=["lm", "itg"],
)
def test_parts_merge_by_adding(term):
    """So accumulation and data parallelism give the mean over tokens, not a mean of means."""
    whole = term(slice(None))
    halves = [term(slice(0, 2)), term(slice(2, 4))]
    np.testing.assert_allclose(np.sum(halves, 0), whole, rtol=1e-6)
    means = [total / weight for total, weight in halves]
    assert abs(np.mean(means) - whole[0] / whole[1]) > 1e-3
