"""Which class and which layer the functions of `embed` show."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ten_words import CFG

from zv_jax.inference import embed
from zv_jax.models.axes import unboxed
from zv_jax.models.ziya_visual import ZiyaVisual

DEEP = dataclasses.replace(CFG, qformer=dataclasses.replace(CFG.qformer, layers=4))
TEXT = jnp.array([[2, 4, 5], [3, 6, 0]])
MASK = TEXT > 0


def match(model, images, ids, mask):
    return model.match(model.encode_images(images), ids, mask)


@pytest.fixture(scope="module")
def images():
    return jnp.asarray(np.random.default_rng(0).standard_normal((2, 28, 28, 3)), jnp.float32)


@pytest.fixture(scope="module")
def variables(images):
    """Random leaves of the image side, with two cross-attentions."""
    init = lambda: ZiyaVisual(DEEP).init(jax.random.key(0), images, TEXT, MASK, method=match)
    rng = np.random.default_rng(1)
    draw = lambda leaf: jnp.asarray(rng.standard_normal(leaf.shape), jnp.float32)
    return jax.tree.map(draw, unboxed(jax.eval_shape(init)))


def test_a_match_score_is_the_logit_of_the_class_match(variables, images):
    """Class 1, as the labels of ITM say."""
    logits = jax.jit(lambda v: ZiyaVisual(DEEP).apply(v, images, TEXT, MASK, method=match))
    found = embed.match(DEEP, variables, images, TEXT, MASK)
    np.testing.assert_allclose(found, logits(variables)[:, 1], rtol=1e-5)


@pytest.mark.parametrize("layer, uniform", [(0, False), (1, True)])
def test_attention_is_that_of_the_last_layers(variables, images, layer, uniform):
    """Queries of zero look everywhere alike; only those of the last cross-attention are shown."""
    cross = variables["params"]["qformer"]["pairs"]["even"]["cross"]["q"]
    blind = jax.tree.map(lambda leaf: leaf.at[layer].set(0.0), cross)
    spoilt = jax.tree.map(lambda leaf: leaf, variables)  # dictionaries of its own
    spoilt["params"]["qformer"]["pairs"]["even"]["cross"]["q"] = blind
    weights = np.asarray(embed.attention(DEEP, spoilt, images, None, None))
    assert weights.shape == (2, DEEP.qformer.num_queries, DEEP.vision.tokens)
    assert np.allclose(weights, 1 / DEEP.vision.tokens, atol=1e-6) == uniform
