import jax
import jax.numpy as jnp
import numpy as np

from zv_jax.models.axes import unboxed
from zv_jax.models.layers import Linear
from zv_jax.models.presets import LoraConfig


def test_an_adapter_adds_its_product_times_alpha_over_rank(rng):
    x = jnp.asarray(rng.standard_normal((3, 6)), jnp.float32)
    layer = Linear(4, ("embed", "mlp"), lora=LoraConfig(rank=2, alpha=10.0, targets=".*"))
    variables = unboxed(layer.init(jax.random.key(0), x))
    a, b = (
        rng.standard_normal(variables["lora"][name].shape).astype("f4")
        for name in ("lora_a", "lora_b")
    )
    plain = x @ variables["params"]["kernel"] + variables["params"]["bias"]
    adapted = layer.apply({**variables, "lora": {"lora_a": a, "lora_b": b}}, x)
    np.testing.assert_allclose(adapted - plain, (x @ a @ b) * 5, atol=1e-4)
