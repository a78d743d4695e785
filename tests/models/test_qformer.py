import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.models.axes import unboxed
from zv_jax.models.presets import QFormerConfig
from zv_jax.models.qformer import Attention, FeedForward

CFG = QFormerConfig(width=16, heads=2, mlp_width=32, dropout=0.0)


@pytest.mark.parametrize("part, inputs", [(FeedForward, 1), (Attention, 2)])
def test_the_sum_with_the_input_is_normalised(part, inputs, rng):
    """Post-norm, as in BERT: every row comes out with mean 0 and variance 1."""
    x = jnp.asarray(3 + rng.standard_normal((2, 5, CFG.width)), jnp.float32)
    given = (x,) * inputs + (None,) * (inputs - 1)  # attention takes a source and a mask
    module = part(CFG, True, jnp.float32, jnp.float32)
    out = module.apply(unboxed(module.init(jax.random.key(0), *given)), *given)
    np.testing.assert_allclose(out.mean(-1), 0, atol=1e-5)
    np.testing.assert_allclose(out.var(-1), 1, atol=1e-3)
