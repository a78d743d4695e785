import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zv_jax.config.schema import OptimizerConfig
from zv_jax.errors import ConfigError
from zv_jax.objectives.contrastive import TEMPERATURE_RANGE, clamp_temperature
from zv_jax.training.optimizer import (
    decay_mask,
    decayed,
    make_optimizer,
    make_schedule,
    within_range,
)

# The leading 3 is the layer axis of nn.scan: a stacked bias has two axes and must not decay.
SHAPES = {
    "params/vision/cls": (1, 1, 4),
    "params/vision/pos_embed": (1, 5, 4),
    "params/vision/blocks/attn/qkv/kernel": (3, 4, 12),
    "params/vision/blocks/attn/q_bias": (3, 4),
    "params/vision/blocks/attn/v_bias": (3, 4),
    "params/vision/blocks/ln1/scale": (3, 4),
    "params/qformer/pairs/first/self/q/bias": (3, 4),
    "params/qformer/query_tokens": (1, 2, 4),
    "params/heads/temperature": (),
    "params/llm/embed/embedding": (8, 4),
    "lora/llm/layers/attn/q/lora_a": (3, 4, 2),
    "lora/llm/layers/attn/q/lora_b": (3, 2, 4),
}
KEPT = {
    name
    for name in SHAPES
    if name.rsplit("/")[-1] in ("q_bias", "v_bias", "bias", "scale", "temperature")
}


def test_decay_reaches_matrices_only_even_when_layers_are_stacked():
    params = {name: jnp.ones(shape) for name, shape in SHAPES.items()}
    cfg = OptimizerConfig(lr=0.1, weight_decay=0.5, schedule="constant")
    tx, _ = make_optimizer(cfg, 10)

    @jax.jit
    def step(params):
        updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
        return optax.apply_updates(params, updates)

    after = step(params)
    for name in SHAPES:
        expected = 1.0 if name in KEPT else 1 - 0.1 * 0.5
        np.testing.assert_allclose(after[name], expected, rtol=1e-6, err_msg=name)
    assert decay_mask(params) == {name: name not in KEPT for name in SHAPES}


def test_a_leaf_without_a_rule_is_an_error_that_names_it():
    with pytest.raises(ConfigError, match="params/llm/layers/attn/q/kernal.*did you mean 'kernel'"):
        decayed("params/llm/layers/attn/q/kernal")
    tx, _ = make_optimizer(OptimizerConfig(), 10)
    with pytest.raises(ConfigError, match="params/vision/gamma"):
        params = {"params/vision/gamma": jnp.ones(3)}
        tx.update(params, tx.init(params), params)


def test_cosine_schedule_values():
    cfg = OptimizerConfig(lr=1.0, warmup_steps=4, final_lr=0.1)
    rate = make_schedule(cfg, 12)
    np.testing.assert_allclose([float(rate(n)) for n in range(4)], [0.25, 0.5, 0.75, 1.0])
    assert float(rate(4)) == 1.0
    np.testing.assert_allclose(float(rate(8)), 0.55, rtol=1e-6)
    np.testing.assert_allclose([float(rate(12)), float(rate(99))], 0.1, rtol=1e-6)
    falling = [float(rate(n)) for n in range(4, 13)]
    assert falling == sorted(falling, reverse=True)


def test_constant_schedule_and_no_warm_up():
    rate = make_schedule(OptimizerConfig(lr=0.3, schedule="constant"), 5)
    np.testing.assert_allclose([float(rate(n)) for n in (0, 3, 50)], 0.3, rtol=1e-6)


@pytest.mark.parametrize("warmup", [-1, 11])
def test_a_warm_up_longer_than_the_run_is_refused(warmup):
    with pytest.raises(ConfigError, match="warm-up"):
        make_schedule(OptimizerConfig(warmup_steps=warmup), 10)


def test_the_rate_in_the_update_is_the_one_of_the_schedule():
    cfg = OptimizerConfig(lr=0.5, warmup_steps=2, weight_decay=0.0, clip_norm=0.0, eps=0.0)
    tx, rate = make_optimizer(cfg, 6)
    params = {"params/a/kernel": jnp.ones((2, 2))}
    state = tx.init(params)
    for n in range(6):
        updates, state = tx.update(jax.tree.map(jnp.ones_like, params), state, params)
        # A constant gradient makes Adam's direction exactly one.
        np.testing.assert_allclose(updates["params/a/kernel"], -float(rate(n)), rtol=1e-5)


def test_clipping_is_by_the_norm_over_all_leaves_together():
    cfg = OptimizerConfig(
        lr=1.0, b1=0.0, b2=0.0, eps=1e6, weight_decay=0.0, clip_norm=1.0, schedule="constant"
    )
    grads = {"params/a/kernel": jnp.full((1, 1), 3.0), "params/b/kernel": jnp.full((1, 1), 4.0)}
    # A huge eps makes Adam linear: update = -g / eps.
    for clip, scale in ((1.0, 0.2), (10.0, 1.0), (0.0, 1.0)):
        tx, _ = make_optimizer(dataclasses.replace(cfg, clip_norm=clip), 3)
        updates, _ = tx.update(grads, tx.init(grads), grads)
        for name, grad in grads.items():
            np.testing.assert_allclose(updates[name] * -1e6, grad * scale, rtol=1e-4)


def test_state_exists_for_the_given_leaves_alone():
    params = {"params/a/kernel": jnp.ones((3, 4)), "params/a/bias": jnp.ones(4)}
    tx, _ = make_optimizer(OptimizerConfig(), 3)
    sizes = sum(leaf.size for leaf in jax.tree.leaves(tx.init(params)) if leaf.ndim)
    assert sizes == 2 * (12 + 4)


def test_muon_moves_every_layer_s_kernel_by_a_nearly_orthogonal_step():
    """Of Adam's size: all singular values near 0.2 * sqrt(4) whatever the gradient's are."""
    cfg = OptimizerConfig(name="muon", lr=1.0, weight_decay=0.0, clip_norm=0.0, schedule="constant")
    rng, (tx, _) = np.random.default_rng(0), make_optimizer(cfg, 3)
    params = {"params/llm/layers/attn/q/kernel": jnp.zeros((3, 4, 3))}
    scales = jnp.array([[[1.0]], [[100.0]], [[1e-3]]])
    grads = jax.tree.map(lambda p: scales * rng.standard_normal(p.shape), params)
    updates, _ = tx.update(grads, tx.init(params), params)
    for layer, grad in zip(
        *(tree["params/llm/layers/attn/q/kernel"] for tree in (updates, grads)), strict=True
    ):
        sizes = np.linalg.svd(layer, compute_uv=False)
        assert np.all((0.2 < sizes) & (sizes < 0.6)), sizes
        assert float(jnp.sum(layer * grad)) < 0


@pytest.mark.slow
def test_muon_leaves_everything_but_kernels_to_adam():
    params = {name: jnp.ones(shape) for name, shape in SHAPES.items()}
    grads = jax.tree.map(lambda p: p + 1, params)
    found = {}
    for name in ("adamw", "muon"):
        tx, _ = make_optimizer(OptimizerConfig(name=name, lr=0.1, weight_decay=0.1), 3)
        found[name], _ = tx.update(grads, tx.init(params), params)
    same = {name for name in SHAPES if np.array_equal(*(found[k][name] for k in found))}
    assert set(SHAPES) - same == {"params/vision/blocks/attn/qkv/kernel"}


def test_muon_keeps_one_moment_of_a_kernel_and_decays_it():
    cfg = OptimizerConfig(name="muon", lr=0.1, weight_decay=0.5, clip_norm=0.0, schedule="constant")
    params = {"params/a/kernel": jnp.ones((3, 4)), "params/a/bias": jnp.ones(4)}
    tx, _ = make_optimizer(cfg, 3)
    state = tx.init(params)
    shapes = [leaf.shape for leaf in jax.tree.leaves(state)]
    assert shapes.count((3, 4)) == 1 and shapes.count((4,)) == 2
    updates, _ = tx.update(jax.tree.map(jnp.zeros_like, params), state, params)
    np.testing.assert_allclose(updates["params/a/kernel"], -0.05, rtol=1e-5)
    assert not updates["params/a/bias"].any()


TEMPERATURE = "params/heads/temperature"


@pytest.mark.parametrize("name", ["adamw", "muon"])
@pytest.mark.parametrize("start, target", [(0.002, 0.1), (0.9, 0.1), (0.01, 0.1), (0.5, 0.1)])
def test_a_temperature_that_left_its_range_comes_back(name, start, target):
    """Towards a loss that is least at `target`, through the clamp that the losses use."""
    tx, _ = make_optimizer(OptimizerConfig(name=name, lr=1e-3, schedule="constant"), 10)

    @jax.jit
    def step(leaves, state):
        gradient = jax.grad(lambda p: (clamp_temperature(p[TEMPERATURE]) - target) ** 2)(leaves)
        updates, state = tx.update(gradient, state, leaves)
        return within_range(optax.apply_updates(leaves, updates)), state

    leaves = {TEMPERATURE: jnp.float32(start), "params/projector/kernel": jnp.full((2, 2), 7.0)}
    state = tx.init(leaves)
    leaves, state = step(leaves, state)
    lowest, highest = TEMPERATURE_RANGE
    assert lowest < leaves[TEMPERATURE] < highest or start in (0.002, 0.9)
    for _ in range(600):
        leaves, state = step(leaves, state)
        assert jnp.float32(lowest) <= leaves[TEMPERATURE] <= highest
    assert leaves[TEMPERATURE] == pytest.approx(target, abs=0.01)
    assert leaves["params/projector/kernel"].max() > 1, "other leaves have no range"


def test_a_temperature_at_a_bound_stays_there_while_the_loss_pulls_outwards():
    leaves = {TEMPERATURE: jnp.float32(0.0099)}
    assert within_range(leaves) == {TEMPERATURE: jnp.float32(0.01)}
    inside = {TEMPERATURE: jnp.float32(0.0712345)}
    assert within_range(inside) == inside
