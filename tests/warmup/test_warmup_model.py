"""What only the warm-ups' model does; its paths are those of old checkpoints (tests/kinds)."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.models.axes import unboxed
from zv_jax.models.presets import preset
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.warmup.model import PatchDescriber, symbol_tokens

CONFIG = preset("tiny_base")
SYMBOLS = jnp.array([[[40, 41, -1], [-1, -1, -1], [-1, 0, 41]]])


def made(model, *inputs, method):
    return unboxed(model.init(jax.random.key(0), *inputs, method=method))


def test_a_symbol_is_the_sum_of_its_words():
    model = ZiyaVisual(CONFIG)
    variables = made(model, SYMBOLS, method=symbol_tokens)
    table = variables["params"]["llm"]["embed"]["embedding"]
    found = model.apply(variables, SYMBOLS, method=symbol_tokens)
    assert found.shape == (1, 3, CONFIG.llm.width) and not found[0, 1].any()
    np.testing.assert_allclose(found[0, 0], table[40] + table[41], atol=2e-5)
    np.testing.assert_allclose(found[0, 2], table[0] + table[41], atol=2e-5)


def test_symbols_are_in_the_dtype_of_tokens():
    model = ZiyaVisual(dataclasses.replace(CONFIG, dtype="bfloat16"))
    variables = made(model, SYMBOLS, method=symbol_tokens)
    assert model.apply(variables, SYMBOLS, method=symbol_tokens).dtype == jnp.bfloat16


@pytest.mark.parametrize("drop_cls", [False, True])
def test_every_patch_has_four_symbols_and_the_class_token_none(drop_cls):
    vision = dataclasses.replace(CONFIG.vision, drop_cls=drop_cls)
    model = PatchDescriber(dataclasses.replace(CONFIG, vision=vision))
    images = jnp.zeros((2, vision.image_size, vision.image_size, 3), jnp.uint8)
    found = jax.eval_shape(
        lambda: model.init_with_output(jax.random.key(0), images, method="describe_patches")[0]
    )
    patches = (vision.image_size // vision.patch_size) ** 2
    assert found.shape == (2, 4 * patches, CONFIG.llm.width)


def test_the_model_of_the_paper_has_no_such_head():
    assert not hasattr(ZiyaVisual, "describe_patches")
