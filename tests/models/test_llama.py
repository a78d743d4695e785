import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from zv_jax import trees
from zv_jax.models.attention import attend, attention_weights
from zv_jax.models.layers import RMSNorm
from zv_jax.models.llama import (
    empty_cache,
    rope_frequencies,
    rope_tables,
    rotate,
)
from zv_jax.models.presets import LlamaConfig, RopeScaling

IDS = jnp.array([[5, 9, 17, 33, 65, 2], [7, 7, 8, 100, 1, 3]])


def full(tiny, ids, mask):
    return tiny("__call__", None, ids, mask)


def test_rope_scores_depend_on_the_distance_only(rng):
    q, k = (jnp.asarray(rng.standard_normal((1, 1, 2, 8)), jnp.float32) for _ in range(2))

    def score(m, n):
        def turn(x, position):
            return rotate(x, rope_tables(jnp.array([[position]]), LlamaConfig(head_dim=8)))

        return np.asarray(jnp.sum(turn(q, m) * turn(k, n), -1))

    np.testing.assert_allclose(score(5, 2), score(103, 100), atol=1e-4)
    np.testing.assert_allclose(score(0, 0), np.asarray(jnp.sum(q * k, -1)), rtol=1e-6)
    assert np.abs(score(5, 2) - score(2, 5)).max() > 1e-3
    assert np.abs(score(5, 2) - score(5, 3)).max() > 1e-3


def test_rope_pairs_the_two_halves():
    """Position 1 turns (x_i, x_{i + d/2}) by theta ** (-2 i / d), as Hugging Face stores it."""
    x = jnp.array([[[[1.0, 2.0, 0.0, 0.0]]]])
    tables = rope_tables(jnp.array([[1]]), LlamaConfig(head_dim=4, rope_theta=100.0))
    out = rotate(x, tables)[0, 0, 0]
    angles = np.array([1.0, 0.1])
    expected = [np.cos(angles[0]), 2 * np.cos(angles[1]), np.sin(angles[0]), 2 * np.sin(angles[1])]
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_linear_scaling_reads_positions_as_if_they_were_nearer():
    plain = rope_frequencies(64, 1e4, RopeScaling())
    stretched = rope_frequencies(64, 1e4, RopeScaling("linear", factor=4.0))
    np.testing.assert_allclose(stretched * 4, plain, rtol=1e-6)


def test_llama3_scaling_keeps_fast_waves_and_stretches_slow_ones():
    scaling = RopeScaling("llama3", 8.0, 1.0, 4.0, original_positions=8192)
    plain = np.asarray(rope_frequencies(128, 5e5, RopeScaling()))
    ratio = np.asarray(rope_frequencies(128, 5e5, scaling)) / plain
    wave = 2 * np.pi / plain
    np.testing.assert_allclose(ratio[wave < 8192 / 4], 1, rtol=1e-6)
    np.testing.assert_allclose(ratio[wave > 8192], 1 / 8, rtol=1e-6)
    between = ratio[(wave > 8192 / 4) & (wave < 8192)]
    assert len(between) > 2 and (np.diff(between) < 0).all()


def test_heads_may_be_wider_than_the_model_and_projections_may_have_biases(make_tiny):
    llm = LlamaConfig(
        vocab_size=128, width=48, layers=2, heads=4, kv_heads=2, mlp_width=96, head_dim=16,
        attention_bias=True, mlp_bias=True,
    )  # fmt: skip
    leaves = trees.flatten(make_tiny("tiny_base", llm=llm).variables["params"]["llm"])
    assert leaves["layers/attn/q/kernel"].shape == (2, 48, 64)
    assert leaves["layers/attn/k/bias"].shape == (2, 32)
    assert leaves["layers/attn/o/kernel"].shape == (2, 64, 48)
    assert {"layers/attn/o/bias", "layers/gate/bias", "layers/down/bias"} <= leaves.keys()


def test_rms_norm_divides_by_the_root_mean_square(rng):
    x = rng.standard_normal((3, 16)).astype(np.float32)
    scale = rng.standard_normal(16).astype(np.float32)
    out = RMSNorm(1e-6).apply({"params": {"scale": scale}}, x)
    np.testing.assert_allclose(
        out, x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * scale, rtol=2e-6
    )


def test_grouped_heads_equal_repeated_heads(rng):
    def random(length, heads):
        return jnp.asarray(rng.standard_normal((2, length, heads, 8)), jnp.float32)

    q, k, v = random(5, 6), random(7, 2), random(7, 2)
    mask = jnp.asarray(rng.random((2, 5, 7)) < 0.7).at[..., 0].set(True)
    repeated = attend(q, k.repeat(3, 2), v.repeat(3, 2), mask)
    np.testing.assert_allclose(attend(q, k, v, mask), repeated, atol=2e-5)


def test_attention_against_numpy(rng):
    q, k, v = (rng.standard_normal((2, 5, 3, 4)).astype(np.float32) for _ in range(3))
    mask = np.tril(np.ones((5, 5), bool))[None]
    scores = np.einsum("bthk,bshk->bhts", q, k) / 2
    scores = np.where(mask[:, None], scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    weights /= weights.sum(-1, keepdims=True)
    expected = np.einsum("bhts,bshk->bthk", weights, v).reshape(2, 5, 12)
    np.testing.assert_allclose(attend(q, k, v, jnp.asarray(mask)), expected, atol=2e-5)


def test_causal_attention_is_that_of_a_causal_mask(rng):
    q, k, v = (jnp.asarray(rng.standard_normal((2, 5, 3, 4)), jnp.float32) for _ in range(3))
    mask = jnp.tril(jnp.ones((5, 5), bool))[None]
    np.testing.assert_array_equal(attend(q, k, v, causal=True), attend(q, k, v, mask))


def test_a_later_token_changes_nothing_before_it(tiny_base):
    mask = jnp.ones_like(IDS, bool)
    before, after = (full(tiny_base, ids, mask) for ids in (IDS, IDS.at[:, 4].set(50)))
    np.testing.assert_array_equal(before[:, :4], after[:, :4])
    assert np.abs(before[:, 4:] - after[:, 4:]).max() > 1e-3


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_on_either_side_changes_nothing(tiny_base, side):
    plain = full(tiny_base, IDS, jnp.ones_like(IDS, bool))
    widths = ((0, 0), (3, 0) if side == "left" else (0, 3))
    where = slice(3, None) if side == "left" else slice(0, IDS.shape[1])
    mask = jnp.pad(jnp.ones_like(IDS, bool), widths)
    for filler in (0, 99):
        padded = full(tiny_base, jnp.pad(IDS, widths, constant_values=filler), mask)
        np.testing.assert_allclose(padded[:, where], plain, atol=2e-5)
        assert np.isfinite(padded).all()


def test_cache_equals_full_forward(tiny_base):
    """Prompts of different lengths, left-padded, then three tokens decoded one by one."""
    cfg, prompt, total = tiny_base.model.cfg, 3, 8
    padded = IDS.at[1, 0].set(0)
    mask = jnp.ones_like(IDS, bool).at[1, 0].set(False)
    expected = full(tiny_base, padded, mask)
    seen = mask[:, :prompt]
    logits, kept = tiny_base("prefill", None, padded[:, :prompt], seen)
    assert kept.keys.shape == (cfg.llm.layers, 2, cfg.llm.kv_heads, prompt, cfg.llm.key_dim)
    np.testing.assert_allclose(logits, expected[:, prompt - 1], atol=2e-5)
    cache = empty_cache(kept, seen, 1, total - prompt)
    for index in range(IDS.shape[1] - prompt):
        positions = seen.sum(1) + index
        logits, cache = tiny_base("decode", padded[:, prompt + index], positions, cache, index)
        np.testing.assert_allclose(logits, expected[:, prompt + index], atol=2e-5)


def test_tied_output_layer_is_the_table(make_tiny, tiny_base):
    llm = dataclasses.replace(tiny_base.model.cfg.llm, tie_embeddings=True)
    tied = make_tiny("tiny_base", llm=llm)
    assert "lm_head" not in tied.variables["params"]["llm"]
    mask = jnp.ones_like(IDS, bool)
    hidden = tied("hidden", None, IDS, mask)
    table = tied.variables["params"]["llm"]["embed"]["embedding"]
    np.testing.assert_allclose(full(tied, IDS, mask), hidden @ table.T, atol=1e-5)


def test_softmax_is_float32_under_bfloat16(rng):
    q, k = (jnp.asarray(rng.standard_normal((1, 64, 2, 4)), jnp.bfloat16) for _ in range(2))
    weights = attention_weights(q, k, None)
    assert weights.dtype == jnp.float32
    np.testing.assert_allclose(weights.sum(-1), 1, atol=2e-5)
    assert attend(q, k, k).dtype == jnp.bfloat16
