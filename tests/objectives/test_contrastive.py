import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.objectives import itc, similarities
from zv_jax.objectives.contrastive import clamp_temperature

B, Q, E = 5, 3, 8
TAU = 0.2


@pytest.fixture(scope="module")
def pair():
    rng = np.random.default_rng(1)
    images, texts = rng.standard_normal((B, Q, E)), rng.standard_normal((B, E))
    images /= np.linalg.norm(images, axis=-1, keepdims=True)
    texts /= np.linalg.norm(texts, axis=-1, keepdims=True)
    return images.astype(np.float32), texts.astype(np.float32)


def reference(images, texts, tau, ids, smoothing):
    """The loss by loops, in float64: (sum over rows of both directions' mean, similarities)."""
    size = len(texts)
    sims = np.array([[max(q @ t for q in image) for t in texts] for image in images], np.float64)
    total = 0.0
    for table in (sims / tau, sims.T / tau):
        for i in range(size):
            log_p = table[i] - np.log(np.exp(table[i]).sum())
            friends = [j for j in range(size) if ids[j] == ids[i]]
            hard = -sum(log_p[j] for j in friends) / len(friends)
            total += (1 - smoothing) * hard + smoothing * -log_p.mean()
    return total / 2, sims


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ids", [None, [7, 3, 7, 7, 1]])
def test_equals_the_loss_written_by_hand(pair, ids, smoothing):
    (total, weight), sims = itc(
        *pair, jnp.float32(TAU), None if ids is None else jnp.array(ids), smoothing
    )
    expected, table = reference(*pair, TAU, range(B) if ids is None else ids, smoothing)
    np.testing.assert_allclose(total, expected, rtol=2e-6)
    assert weight == B
    np.testing.assert_allclose(sims, table, atol=1e-6)
    np.testing.assert_allclose(similarities(*pair), table, atol=1e-6)


def test_similarity_of_a_pair_is_its_best_query():
    texts = jnp.eye(2)
    images = jnp.array([[[1.0, 0.0], [0.0, 0.5]], [[-1.0, 0.0], [0.0, -1.0]]])
    np.testing.assert_array_equal(similarities(images, texts), [[1.0, 0.5], [0.0, 0.0]])


@pytest.mark.parametrize("given, used", [(1e-4, 0.01), (3.0, 0.5)])
def test_temperature_is_clamped(pair, given, used):
    outside, inside = (itc(*pair, jnp.float32(t))[0][0] for t in (given, used))
    np.testing.assert_array_equal(outside, inside)


def gradients(pair, gather_grad):
    def loss(images, texts):
        return itc(images, texts, jnp.float32(TAU), gather_grad=gather_grad)[0][0]

    return jax.grad(loss, (0, 1))(*map(jnp.asarray, pair))


def direction(pair, towards_text):
    """Half of the loss: images choosing among texts, or texts among images."""

    def loss(images, texts):
        sims = similarities(images, texts) / TAU
        table = sims if towards_text else sims.T
        targets = 0.9 * jnp.eye(B) + 0.1 / B
        return -0.5 * jnp.sum(targets * jax.nn.log_softmax(table, 1))

    return jax.grad(loss, (0, 1))(*map(jnp.asarray, pair))


def test_gathered_side_has_gradient_only_on_request(pair):
    """Without it each direction reaches its own anchors alone, as with LAVIS on several GPUs."""
    to_text, to_image = direction(pair, True), direction(pair, False)
    images, texts = gradients(pair, gather_grad=True)
    np.testing.assert_allclose(images, to_text[0] + to_image[0], atol=1e-6)
    np.testing.assert_allclose(texts, to_text[1] + to_image[1], atol=1e-6)
    images, texts = gradients(pair, gather_grad=False)
    np.testing.assert_allclose(images, to_text[0], atol=1e-6)
    np.testing.assert_allclose(texts, to_image[1], atol=1e-6)
    values = [itc(*pair, jnp.float32(TAU), gather_grad=g)[0][0] for g in (True, False)]
    np.testing.assert_array_equal(*values)


@pytest.mark.parametrize("given, used", [(1e-4, 0.01), (0.01, 0.01), (0.5, 0.5), (3.0, 0.5)])
def test_a_temperature_outside_of_its_range_has_the_gradient_of_the_nearest_inside(
    pair, given, used
):
    slope = jax.grad(lambda t: itc(*pair, t)[0][0])
    plain, _ = reference(*pair, used, range(B), 0.1)
    more, _ = reference(*pair, used + 1e-6, range(B), 0.1)
    np.testing.assert_allclose(slope(jnp.float32(given)), (more - plain) / 1e-6, rtol=1e-3)


def test_inside_of_its_range_the_temperature_is_used_as_it_is():
    for value in np.linspace(0.01, 0.5, 50, dtype=np.float32):
        used, slope = jax.value_and_grad(clamp_temperature)(value)
        assert used == value and slope == 1
