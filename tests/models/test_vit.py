import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax.models.axes import unboxed
from zv_jax.models.presets import LoraConfig, VisionConfig
from zv_jax.models.vit import (
    MEAN,
    STD,
    Block,
    FusedAttention,
    VisionTransformer,
    cubic_matrix,
    normalise,
    resize_positions,
)

TINY = dict(image_size=28, patch_size=14, width=16, layers=2, heads=2, mlp_width=32)


def ramp(side: int) -> jax.Array:
    """A table whose CLS row is 7 and whose grid counts 0, 1, 2, ... row by row."""
    return jnp.concatenate([jnp.full((1,), 7.0), jnp.arange(side * side, dtype=jnp.float32)])[
        None, :, None
    ]


@pytest.mark.parametrize(
    "corners, row, column",
    [
        (False,
         [-0.43402800, 0.05902775, 0.86574066, 1.43981504, 2.24652815, 2.73958397],
         [-0.43402800, 1.53819478, 4.76504612, 7.06134415, 10.28819656, 12.26041985]),
        (True,
         [0.0, 0.50399995, 1.24800038, 1.75200081, 2.49600053, 3.0],
         [0.0, 2.01599979, 4.99200153, 7.00800323, 9.98400211, 12.0]),
    ],
)  # fmt: skip
def test_position_table_resizes_as_torch_bicubic(corners, row, column):
    """Numbers of torch.nn.functional.interpolate(mode="bicubic") for a 4 x 4 ramp to 6 x 6."""
    resized = resize_positions(ramp(4), (6, 6), corners)
    assert resized.shape == (1, 37, 1)
    assert resized[0, 0, 0] == 7
    grid = np.asarray(resized[0, 1:, 0]).reshape(6, 6)
    np.testing.assert_allclose(grid[0], row, atol=2e-5)
    np.testing.assert_allclose(grid[:, 0], column, atol=2e-5)


def test_shrinking_has_no_antialiasing():
    values = np.arange(36.0) ** 2 / 10
    matrix = cubic_matrix(6, 4)
    grid = matrix @ values.reshape(6, 6) @ matrix.T
    expected = [0.49201044, 1.10993648, 2.27287626, 3.86111426]  # torch, as above
    np.testing.assert_allclose(grid[0], expected, atol=1e-5)


def test_position_table_of_the_right_size_is_untouched():
    table = ramp(4)
    assert resize_positions(table, (4, 4)) is table


@pytest.mark.parametrize("size", [28, 42])
@pytest.mark.parametrize("family, drop_cls", [("eva", False), ("clip", False), ("eva", True)])
def test_shapes_of_image_tokens(size, family, drop_cls):
    cfg = VisionConfig(family=family, drop_cls=drop_cls, **TINY)
    model = VisionTransformer(cfg)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 3)))
    out = jax.eval_shape(model.apply, unboxed(variables), jnp.zeros((2, size, size, 3)))
    assert out.shape == (2, (size // 14) ** 2 + (not drop_cls), 16)
    assert out.dtype == jnp.float32
    if size == 28:
        assert out.shape[1] == cfg.tokens


def test_full_eva_gives_257_tokens_of_1408():
    model = VisionTransformer(VisionConfig(), remat="full")
    images = jnp.zeros((1, 224, 224, 3))
    variables = jax.eval_shape(model.init, jax.random.key(0), images)
    assert jax.eval_shape(model.apply, unboxed(variables), images).shape == (1, 257, 1408)


def test_eva_has_no_key_bias_and_clip_has():
    def names(family: str) -> set[str]:
        model = VisionTransformer(VisionConfig(family=family, **TINY))
        tree = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, 28, 28, 3)))["params"]
        attn = tree["blocks"]["attn"]
        return {*attn, *(f"qkv/{name}" for name in attn["qkv"]), *(f"patch/{n}" for n in
                tree["patch"]), *tree}  # fmt: skip

    eva, clip = names("eva"), names("clip")
    assert {"q_bias", "v_bias", "patch/bias"} <= eva and "qkv/bias" not in eva
    assert {"qkv/bias", "ln_pre"} <= clip and not {"q_bias", "v_bias", "patch/bias"} & clip


def test_patches_are_read_in_rows_and_cls_comes_first(make_tiny, rng):
    """Swapping two patches and their positions swaps the two image tokens and nothing else."""
    tiny = make_tiny("tiny_base")
    images = jnp.asarray(rng.standard_normal((1, 28, 28, 3)), jnp.float32)
    swapped = (
        images.at[:, :14, 14:].set(images[:, 14:, :14]).at[:, 14:, :14].set(images[:, :14, 14:])
    )
    vision = tiny.variables["params"]["vision"]
    order = jnp.array([0, 1, 3, 2, 4])  # patch (0, 1) and patch (1, 0)
    other = {**vision, "pos_embed": vision["pos_embed"][:, order]}
    run = jax.jit(
        lambda v, x: tiny.model.apply(
            {"params": {**tiny.variables["params"], "vision": v}}, x, method="encode_images"
        )
    )
    np.testing.assert_allclose(run(other, swapped), run(vision, images)[:, order], atol=1e-5)


def test_drop_path_drops_whole_samples_in_training_only():
    cfg = VisionConfig(drop_path=0.9, **(TINY | {"layers": 2}))
    images = jax.random.normal(jax.random.key(1), (1, 28, 28, 3)).repeat(8, 0)
    params = unboxed(jax.jit(VisionTransformer(cfg).init)(jax.random.key(0), images))
    calm = jax.jit(VisionTransformer(cfg).apply)(params, images)
    assert np.ptp(np.asarray(calm), axis=0).max() < 1e-6
    training = jax.jit(VisionTransformer(cfg, deterministic=False).apply)
    noisy = training(params, images, rngs={"dropout": jax.random.key(2)})
    distinct = np.unique(np.asarray(noisy).reshape(8, -1).round(5), axis=0)
    assert 1 < len(distinct) <= 4  # the last block's two branches are kept or dropped


def test_the_fused_bias_is_that_of_queries_and_of_values(rng):
    """Weights of attention sum to 1, so a bias of all values goes through to the output as it is,
    one of all keys would change nothing, and one of queries changes where each token looks."""
    cfg = VisionConfig(**TINY)
    attend = FusedAttention(cfg, LoraConfig(), True, jnp.float32, jnp.float32)
    x = jnp.asarray(rng.standard_normal((1, 5, 16)), jnp.float32)
    params = unboxed(attend.init(jax.random.key(0), x))["params"]
    bias = jnp.asarray(rng.standard_normal(16), jnp.float32)
    plain, of_values, of_queries = (
        attend.apply({"params": {**params, **change}}, x)
        for change in ({}, {"v_bias": bias}, {"q_bias": 10 * bias})
    )
    shift = jnp.broadcast_to(bias @ params["out"]["kernel"], plain.shape)
    np.testing.assert_allclose(of_values - plain, shift, atol=1e-5)
    assert np.ptp(np.asarray(of_queries - plain), axis=1).max() > 1e-3


def test_drop_path_leaves_the_expectation_as_it_is(rng):
    """What is kept at a rate of 1/2 counts twice. The second branch is zero here."""
    cfg = VisionConfig(drop_path=0.5, **TINY)
    x = jnp.asarray(rng.standard_normal((1, 5, 16)), jnp.float32).repeat(16, 0)
    block = Block(cfg, LoraConfig(), True, jnp.float32, jnp.float32)
    params = unboxed(block.init(jax.random.key(0), x, jnp.float32(0.5)))["params"]
    params = {**params, "fc2": jax.tree.map(jnp.zeros_like, params["fc2"])}
    calm, _ = block.apply({"params": params}, x, jnp.float32(0.5))
    noisy, _ = block.clone(deterministic=False).apply(
        {"params": params}, x, jnp.float32(0.5), rngs={"dropout": jax.random.key(1)}
    )
    branch = np.asarray(calm - x)
    kept = np.abs(noisy - x).max((1, 2)) > 1e-6
    assert 0 < kept.sum() < 16
    np.testing.assert_allclose(noisy - x, np.where(kept[:, None, None], 2 * branch, 0), atol=1e-5)


@pytest.mark.parametrize("remat", ["dots", pytest.param("dots_no_batch", marks=pytest.mark.slow)])
def test_remat_policies_change_no_gradient(remat, shown):
    cfg = VisionConfig(**TINY)
    params = unboxed(jax.jit(VisionTransformer(cfg).init)(jax.random.key(0), shown))

    def gradient(name):
        model = VisionTransformer(cfg, remat=name)
        return jax.jit(jax.grad(lambda p: jnp.sum(model.apply(p, shown) ** 2)))(params)

    def same(plain, other):
        """To rounding: sums taken in another order differ by a part of the largest value."""
        np.testing.assert_allclose(plain, other, atol=1e-5 * np.abs(plain).max(), rtol=1e-4)

    jax.tree.map(same, gradient("none"), gradient(remat))


def test_bytes_are_normalised_and_floats_are_taken_as_they_are():
    pixels = np.random.default_rng(0).integers(0, 256, (2, 28, 28, 3), np.uint8)
    wanted = ((pixels / 255 - MEAN) / STD).astype(np.float32)
    np.testing.assert_allclose(normalise(jnp.asarray(pixels)), wanted, atol=1e-6)
    np.testing.assert_array_equal(normalise(jnp.asarray(wanted)), wanted)
    model = VisionTransformer(VisionConfig(**TINY))
    variables = unboxed(model.init(jax.random.key(0), wanted))
    tokens = [jax.jit(model.apply)(variables, images) for images in (pixels, wanted)]
    np.testing.assert_allclose(*tokens, atol=1e-5)
