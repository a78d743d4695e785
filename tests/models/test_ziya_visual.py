import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax import trees
from zv_jax.models.presets import LoraConfig
from zv_jax.models.ziya_visual import ZiyaVisual

IMAGE = 127  # placeholder of the tiny presets, which have four queries
IDS = jnp.array([[127] * 4 + [1, 20, 21, 22, 2, 0], [1, 30] + [127] * 4 + [31, 32, 33, 2]])
MASK = jnp.array([[1] * 9 + [0], [1] * 10], bool)
TEXT = jnp.array([[2, 40, 41, 3], [2, 50, 3, 0]])
TEXT_MASK = TEXT > 0


@pytest.fixture
def arguments(shown):
    return shown[:2, None], IDS, MASK, TEXT, TEXT_MASK


def test_placeholders_take_their_features_in_order(tiny_base, rng):
    """Two images in the first row, with text between; one image in the second."""
    ids = jnp.array([[5] + [IMAGE] * 4 + [6, 7] + [IMAGE] * 4, [IMAGE] * 4 + [8] * 7])
    visual = jnp.asarray(rng.standard_normal((2, 8, 48)), jnp.float32)
    embeds = tiny_base("embed", ids, visual)
    np.testing.assert_array_equal(embeds[0, 1:5], visual[0, :4])
    np.testing.assert_array_equal(embeds[0, 7:], visual[0, 4:])
    np.testing.assert_array_equal(embeds[1, :4], visual[1, :4])
    table = tiny_base.variables["params"]["llm"]["embed"]["embedding"]
    np.testing.assert_array_equal(embeds[0, jnp.array([0, 5, 6])], table[jnp.array([5, 6, 7])])
    np.testing.assert_array_equal(embeds[1, 4:], table[jnp.full(7, 8)])


def test_images_of_a_row_keep_their_order(tiny_base, shown):
    both = tiny_base("visual_tokens", shown[None, :2])
    swapped = tiny_base("visual_tokens", shown[None, 1::-1])
    assert both.shape == (1, 8, 48)
    np.testing.assert_allclose(both[:, :4], swapped[:, 4:], atol=2e-5)
    assert np.abs(both[:, :4] - both[:, 4:]).max() > 1e-2


def test_a_row_without_an_image_reads_none(tiny_base, shown):
    ids = IDS.at[1].set(jnp.arange(10) + 40)
    images = (shown[:2, None], shown[1:, None])
    one, other = (tiny_base("__call__", x, ids, MASK) for x in images)
    np.testing.assert_array_equal(one[1], other[1])
    assert np.abs(one[0, :9] - other[0, :9]).max() > 1e-3


def test_what_is_padded_on_the_right_needs_no_mask(tiny_base, rng):
    """States and gradients of real tokens are those with a mask, bit by bit."""
    visual = jnp.asarray(rng.standard_normal((2, 4, 48)), jnp.float32)
    wanted = jnp.asarray(rng.standard_normal((2, 10, 48)), jnp.float32) * MASK[..., None]

    def found(variables, right_padded):
        hidden = tiny_base.model.apply(
            variables, visual, IDS, MASK, right_padded=right_padded, method="hidden"
        )
        return (hidden * wanted).sum(), hidden

    value = jax.jit(jax.value_and_grad(found, has_aux=True), static_argnums=1)
    (masked, states), gradient = value(tiny_base.variables, False)
    (free, others), same = value(tiny_base.variables, True)
    assert masked == free
    np.testing.assert_array_equal(states[MASK], others[MASK])
    assert np.abs(states - others)[~MASK].max() > 1e-3  # padding reads itself, and nobody cares
    for one, other in zip(jax.tree.leaves(gradient), jax.tree.leaves(same), strict=True):
        np.testing.assert_array_equal(one, other)


def test_base_ignores_the_instruction_and_chat_uses_it(tiny_base, tiny_chat, arguments):
    changed = (*arguments[:3], TEXT + 1, TEXT_MASK)
    for tiny, uses in ((tiny_base, False), (tiny_chat, True)):
        before, after = tiny("__call__", *arguments), tiny("__call__", *changed)
        assert (np.abs(before - after)[0, :9].max() > 1e-3) == uses
        assert before.shape == (2, 10, 128) and before.dtype == jnp.float32
    np.testing.assert_array_equal(
        tiny_base("__call__", *arguments), tiny_base("__call__", *arguments[:3])
    )


def test_chat_gives_each_image_of_a_row_the_row_s_instruction(tiny_chat, shown):
    pairs = jnp.stack([shown[:2], shown[1:]])
    together = tiny_chat("visual_tokens", pairs, TEXT, TEXT_MASK)
    for row in range(2):
        alone = tiny_chat(
            "visual_tokens", pairs[row : row + 1, 1:], TEXT[row : row + 1], TEXT_MASK[row : row + 1]
        )
        np.testing.assert_allclose(together[row : row + 1, 4:], alone, atol=2e-5)


def test_a_match_is_the_mean_over_the_queries(tiny_base, shown):
    features = tiny_base("encode_images", shown[:2])
    queries = tiny_base("query", features, TEXT, TEXT_MASK)
    head = tiny_base.variables["params"]["heads"]["itm"]
    each = queries @ head["kernel"] + head["bias"]
    assert each.shape == (2, 4, 2) and np.ptp(np.asarray(each), axis=1).min() > 1e-2
    found = tiny_base("match", features, TEXT, TEXT_MASK)
    np.testing.assert_allclose(found, each.mean(1), atol=1e-5)


@pytest.mark.slow
def test_remat_gives_the_same_outputs_and_gradients(tiny_chat, arguments):
    def run(model):
        def loss(variables):
            logits = model.apply(variables, *arguments)
            return jnp.mean(logits[:, 5:9] ** 2), logits

        return jax.jit(jax.value_and_grad(loss, has_aux=True))(tiny_chat.variables)

    plain = run(tiny_chat.model)
    other = run(ZiyaVisual(dataclasses.replace(tiny_chat.model.cfg, remat="full")))
    assert float(plain[0][0]) > 0
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5, rtol=2e-4), plain, other)


def test_adapters_off_and_adapters_at_zero_change_no_bit(make_tiny, tiny_chat, arguments):
    """The base tree has the same names; without targets there is nothing else in the program."""
    plain = make_tiny("tiny_chat", lora=LoraConfig())
    assert "lora" not in plain.variables
    assert set(trees.flatten(plain.variables["params"])) == set(
        trees.flatten(tiny_chat.variables["params"])
    )
    expected = plain("__call__", *arguments)
    trained = tiny_chat("__call__", *arguments)
    assert np.abs(trained - expected).max() > 1e-3
    unused = dataclasses.replace(plain, variables=tiny_chat.variables)
    np.testing.assert_array_equal(unused("__call__", *arguments), expected)

    def at_zero(path, leaf):
        return jnp.zeros_like(leaf) if path[-1].key == "lora_b" else leaf

    lora = jax.tree_util.tree_map_with_path(at_zero, tiny_chat.variables["lora"])
    zeroed = dataclasses.replace(tiny_chat, variables={**plain.variables, "lora": lora})
    np.testing.assert_array_equal(zeroed("__call__", *arguments), expected)


def test_adapters_start_at_zero_and_sit_where_the_pattern_says(tiny_chat, shown):
    leaves = set(trees.flatten(tiny_chat.variables["lora"]))
    assert leaves == {
        f"{place}/lora_{side}"
        for place in ("vision/blocks/attn/qkv", "llm/layers/attn/q", "llm/layers/attn/v")
        for side in "ab"
    }
    init = jax.jit(functools.partial(tiny_chat.model.init, method="encode_images"))
    fresh = init(jax.random.key(0), shown)["lora"]
    for path, leaf in trees.flatten(fresh).items():
        values = np.asarray(leaf.unbox(apply_constraint=False))
        assert values.any() == (path.endswith("lora_a")), path
        if path.endswith("lora_a"):
            assert np.abs(values).max() <= values.shape[-2] ** -0.5
            assert not np.array_equal(values[0], values[1])  # each layer draws its own


@pytest.mark.slow
def test_bfloat16_policy(make_tiny, arguments):
    """Parameters float32, tokens and features bfloat16, everything a loss reads float32."""
    tiny = make_tiny("tiny_chat", dtype="bfloat16")
    assert {leaf.dtype for leaf in jax.tree.leaves(tiny.variables)} == {jnp.dtype("float32")}

    def dtype(method, *inputs):
        out = jax.eval_shape(lambda v: tiny.model.apply(v, *inputs, method=method), tiny.variables)
        return jax.tree.map(lambda leaf: leaf.dtype.name, out)

    features = tiny("encode_images", arguments[0][:, 0])
    assert features.dtype == jnp.bfloat16
    visual = tiny("visual_tokens", arguments[0], TEXT, TEXT_MASK)
    assert visual.dtype == jnp.bfloat16
    assert dtype("hidden", visual, IDS, MASK) == "bfloat16"
    assert dtype("query", features, TEXT, TEXT_MASK) == "bfloat16"
    assert dtype("__call__", *arguments) == "float32"
    assert dtype("match", features, TEXT, TEXT_MASK) == "float32"
    assert dtype("text_embed", TEXT, TEXT_MASK) == "float32"
    assert dtype("image_embed", arguments[0][:, 0]) == "float32"
    assert dtype("caption", features, TEXT, TEXT_MASK) == ("bfloat16", "float32")


def test_bfloat16_is_near_float32(make_tiny, tiny_chat, arguments):
    exact = tiny_chat("__call__", *arguments)[:, 5:9]
    rough = make_tiny("tiny_chat", dtype="bfloat16")("__call__", *arguments)[:, 5:9]
    assert np.isfinite(rough).all()
    assert np.abs(rough - exact).mean() < 0.05 * np.abs(exact).mean()


def test_dropout_needs_training_and_a_key(make_tiny, tiny_chat, arguments):
    qformer = dataclasses.replace(tiny_chat.model.cfg.qformer, dropout=0.5)
    lora = dataclasses.replace(tiny_chat.model.cfg.lora, dropout=0.5)
    tiny = make_tiny("tiny_chat", qformer=qformer, lora=lora)
    np.testing.assert_array_equal(tiny("__call__", *arguments), tiny_chat("__call__", *arguments))
    training = jax.jit(
        lambda key: ZiyaVisual(tiny.model.cfg, deterministic=False).apply(
            tiny.variables, *arguments, rngs={"dropout": key}
        )
    )
    one, same, other = (training(jax.random.key(n)) for n in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert np.abs(one - other).max() > 1e-3
