import jax.numpy as jnp
import numpy as np

from zv_jax.objectives import unexplained

TARGET = jnp.asarray(np.random.default_rng(0).standard_normal((2, 4, 8)), jnp.float32)


def share(predicted, target):
    total, weight = unexplained(predicted, target)
    return float(total / weight)


def test_nothing_is_unexplained_by_the_target_and_everything_by_zeros():
    assert share(TARGET, TARGET) == 0
    assert share(jnp.zeros_like(TARGET), TARGET) == 1


def test_half_the_target_leaves_a_quarter_whatever_its_scale():
    np.testing.assert_allclose(share(TARGET / 2, TARGET), 0.25, rtol=1e-6)
    np.testing.assert_allclose(share(50 * TARGET, 100 * TARGET), 0.25, rtol=1e-6)


def test_half_precision_is_summed_in_float32():
    half = TARGET.astype(jnp.bfloat16)
    total, weight = unexplained(half * 0, half)
    assert total.dtype == weight.dtype == jnp.float32
