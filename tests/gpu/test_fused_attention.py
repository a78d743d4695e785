"""cuDNN's attention beside exact attention, values and gradients, in shapes of the towers."""

import pytest

pytestmark = pytest.mark.gpu

PROGRAM = """
import sys
import jax, jax.numpy as jnp
from zv_jax.models import attention

length, keys, heads, groups, dim, masked, causal = (int(word) for word in sys.argv[1:])
assert jax.default_backend() == "gpu"
draw = lambda n, t, h: jax.random.normal(jax.random.key(n), (2, t, h, dim), jnp.float32)
q, k, v = draw(0, length, heads), draw(1, keys, groups), draw(2, keys, groups)
g = draw(3, length, heads)
mask = None
if masked:  # causal, and the last quarter of one row is padding
    mask = jnp.tril(jnp.ones((length, keys), bool))[None] & jnp.ones((2, 1, 1), bool)
    mask = mask.at[1, :, keys - keys // 4 :].set(False)

def loss(attend):
    def value(q, k, v):
        out = attend(q, k, v, mask, bool(causal)).astype(jnp.float32)
        return (out * g.reshape(2, length, -1)).sum()
    return jax.jit(jax.value_and_grad(value, (0, 1, 2)))

half = [x.astype(jnp.bfloat16) for x in (q, k, v)]
assert attention._fused(half[0], half[1], mask)
text = loss(attention.attend).lower(*half).compile().as_text()
assert "cudnn$fmha" in text, "the fused kernel is not in the program"

def plain(q, k, v, mask, causal):
    seen = attention.upto_itself(length) if causal else mask
    return attention.apply_weights(attention.attention_weights(q, k, seen), v)

exact = loss(plain)(*(x.astype(jnp.float32) for x in half))
fused, unfused = loss(attention.attend)(*half), loss(plain)(*half)
size = lambda x: float(jnp.linalg.norm(x.astype(jnp.float32)))
for name, a, b, c in zip("qkv", exact[1], fused[1], unfused[1], strict=True):
    ours, theirs = size(a - b) / size(a), size(a - c) / size(a)
    print(name, ours, theirs)
    assert ours < 1e-2 and ours < 2 * theirs + 1e-3, name
"""
CASES = {
    "llama": (1024, 1024, 40, 40, 128, 0, 1),
    "llama_of_odd_length": (1023, 1023, 40, 40, 128, 0, 1),
    "llama_padded_on_the_left": (1024, 1024, 40, 40, 128, 1, 0),
    "grouped": (256, 256, 8, 2, 128, 0, 1),
    "vit": (257, 257, 16, 16, 88, 0, 0),
    "vit_without_class_token": (256, 256, 16, 16, 88, 0, 0),
    "qformer": (160, 160, 12, 12, 64, 1, 0),
    "queries_over_an_image": (32, 257, 12, 12, 64, 0, 0),
}


@pytest.mark.parametrize("case", CASES)
def test_values_and_gradients_are_those_of_exact_attention(fresh_python, case):
    words = [str(number) for number in CASES[case]]
    done = fresh_python("-c", PROGRAM, *words, JAX_PLATFORMS="cuda,cpu")
    assert done.returncode == 0, done.stdout + done.stderr
