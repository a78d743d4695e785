"""One optimiser step in every stage and variant, on tiny models and made-up batches."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic import batch, on_devices, start, tiny

from zv_jax.models.axes import on_mesh
from zv_jax.parallel.hardware import MeshConfig
from zv_jax.parallel.sharding import make_mesh
from zv_jax.stages import stage_of
from zv_jax.training import step as step_lib
from zv_jax.training.optimizer import make_optimizer


def _slow(*case):
    """One that differs little from another: what is compiled takes seconds."""
    return pytest.param(*case, marks=pytest.mark.slow)


CASES = [
    ("language", "base", {}),
    ("vision", "base", {}),
    ("stage0", "base", {"train_vision": True, "itc_gather_grad": False}),
    _slow("stage0", "chat", {"itm_pairs": "single", "itm_negatives": "random"}),
    _slow("stage1", "base", {}),
    ("stage1", "chat", {}),
    _slow("stage2", "base", {}),
    ("stage2", "chat", {}),
]


def host(tree):
    """A copy that no donation can take away."""
    return jax.tree.map(lambda leaf: np.array(leaf), tree)


@pytest.mark.parametrize("name, variant, more", CASES)
def test_eight_steps(name, variant, more):
    """Finite, falling, frozen leaves untouched, compiled once, the same bits again."""
    config = tiny(name, variant, **more)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    with on_mesh(mesh):
        leaves, state, step = start(config, mesh)
        first, frozen = host(state), host(leaves.frozen)
        rows = on_devices(batch(stage_of(config).batch), mesh)
        history = []
        for _ in range(8):
            state, metrics = step(state, leaves.frozen, rows)
            history.append(host(metrics))
            if len(history) == 2:
                second = host(state)
        again = jax.tree.map(lambda leaf, like: jax.device_put(leaf, like.sharding), first, state)
        for _ in range(2):
            again, _ = step(again, leaves.frozen, rows)
    assert step._cache_size() == 1
    assert all(np.isfinite(value).all() for row in history for value in row.values())
    losses = [float(row["loss"]) for row in history]
    assert losses[-1] < losses[0] and min(losses) < losses[0] - 1e-3, losses
    assert losses[0] == pytest.approx(
        sum(float(history[0][term]) for term in stage_of(config).losses), rel=1e-6
    )
    assert int(state.step) == 8
    for path, leaf in frozen.items():
        np.testing.assert_array_equal(leaves.frozen[path], leaf, err_msg=path)
    for path, leaf in second.trainable.items():
        if path.endswith(("kernel", "embedding", "query_tokens", "lora_a", "lora_b")):
            assert (leaf != first.trainable[path]).any(), path
    jax.tree.map(np.testing.assert_array_equal, host(again), second)


@pytest.fixture
def make_bare_step(monkeypatch):
    """Makes a function of `(step, skipped=0)`: metrics of a step whose loss is what its key draws.

    Arguments are fields of the recipe.
    """

    def gradient(trainable, frozen, batch, key):
        del frozen, batch
        return trainable, {"lm": (jax.random.uniform(key), jnp.float32(1))}

    monkeypatch.setattr(step_lib, "make_gradient", lambda *_: gradient)
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    whole = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())

    def make(**fields):
        config = tiny("stage1", "base", schedule="cosine", warmup_steps=4, **fields)
        tx, schedule = make_optimizer(config.optimizer, config.train.steps)

        def state():
            kernel = jax.device_put(np.ones((2, 2), np.float32), whole)
            return step_lib.init_state({"params/projector/kernel": kernel}, tx)

        def run(at, skipped=0):
            with on_mesh(mesh):
                start = state()
                guards = {**start.guards, "skipped": jnp.int32(skipped)}
                start = dataclasses.replace(start, step=jnp.int32(at), guards=guards)
                return host(compiled(start, {}, {})[1])

        with on_mesh(mesh):
            compiled = step_lib.make_step(config, stage_of(config), tx, schedule, mesh, state())
        return run

    return make


@pytest.fixture
def bare_step(make_bare_step):
    return make_bare_step()


def test_every_step_draws_anew_and_a_step_draws_the_same_again(bare_step):
    losses = [float(bare_step(at)["loss"]) for at in (0, 1, 2, 1)]
    assert len(set(losses)) == 3 and losses[1] == losses[3]


@pytest.mark.parametrize("kind", ["rbg", "unsafe_rbg"])
def test_random_bits_are_those_of_the_recipe_whatever_jax_is_set_to(make_bare_step, kind):
    with jax.default_prng_impl("threefry2x32"):
        wanted, other = make_bare_step()(1)["loss"], make_bare_step(random_bits=kind)(1)["loss"]
    with jax.default_prng_impl("rbg"):  # as JAX_DEFAULT_PRNG_IMPL in somebody's environment
        assert make_bare_step()(1)["loss"] == wanted
        assert make_bare_step(random_bits=kind)(1)["loss"] == other != wanted


def test_the_logged_rate_waits_for_skipped_updates(bare_step):
    """As the schedule does, which counts updates."""
    assert bare_step(5, skipped=2)["lr"] == bare_step(3)["lr"] != bare_step(5)["lr"]
