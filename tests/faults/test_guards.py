"""Updates that would do harm: skipped, counted, reported, and after too many the run ends."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_run import events, everything, losses, toy_config, train

from zv_jax.config import GuardConfig
from zv_jax.errors import TrainingError
from zv_jax.training.guards import (
    FINE,
    NOT_FINITE,
    NOTHING_TO_LEARN,
    SPIKE,
    init_guards,
    judge,
    tower_norms,
    unless_skipped,
)

CALM = GuardConfig(spike_sigma=4.0, spike_window=8)


def verdicts(cfg, values):
    """Verdicts of a series of (loss, gradient norm), and the state after it."""
    step = jax.jit(functools.partial(judge, cfg))
    guards, found = init_guards(cfg), []
    for loss, norm in values:
        verdict, guards = step(guards, jnp.float32(loss), jnp.float32(norm), jnp.float32(7))
        found.append(int(verdict))
    return found, guards


def noise(count, seed=0):
    rng = np.random.default_rng(seed)
    return [(2 + 0.1 * a, 1 + 0.1 * b) for a, b in rng.uniform(-1, 1, (count, 2))]


@pytest.mark.parametrize("bad", [(math.nan, 1.0), (2.0, math.inf), (-math.inf, math.nan)])
def test_what_is_not_finite_is_skipped_from_the_first_step_on(bad):
    found, guards = verdicts(GuardConfig(), [bad, (2.0, 1.0), bad])
    assert found == [NOT_FINITE, FINE, NOT_FINITE]
    assert int(guards["skipped"]) == 2 and int(guards["seen"]) == 1
    assert np.isfinite(guards["loss"]).all(), "it leaves no trace in the window"


@pytest.mark.parametrize("spike", [(9.0, 1.0), (2.0, 9.0)])
def test_a_spike_of_loss_or_gradient_is_skipped_once_the_window_is_full(spike):
    found, guards = verdicts(CALM, [*noise(4), spike, *noise(20, 1), spike, *noise(3, 2)])
    assert found == [FINE] * 25 + [SPIKE] + [FINE] * 3
    assert int(guards["skipped"]) == 1
    found, _ = verdicts(GuardConfig(), [*noise(200), spike])
    assert found == [FINE] * 201, "off unless asked for"


def test_falling_values_are_no_spike_and_a_new_plateau_is_accepted():
    found, _ = verdicts(CALM, [*noise(10), (0.1, 0.01), *noise(10), *[(9.0, 9.0)] * 8])
    assert SPIKE not in found[:21]
    assert found[21] == SPIKE and found[-1] == FINE


def test_a_batch_without_any_token_to_learn_is_told_apart_from_a_perfect_one():
    for weight, wanted in ((0.0, NOTHING_TO_LEARN), (1.0, FINE)):
        values = (jnp.float32(v) for v in (0.0, 0.0, weight))
        verdict, _ = judge(GuardConfig(), init_guards(GuardConfig()), *values)
        assert int(verdict) == wanted


def test_a_skipped_update_leaves_every_leaf_as_it_was():
    old = {"a": jnp.arange(3.0), "b": (jnp.int32(4), jnp.ones((2, 2), jnp.bfloat16))}
    new = jax.tree.map(lambda leaf: (leaf + 1).astype(leaf.dtype), old)
    bad = jax.tree.map(lambda leaf: leaf * np.nan if leaf.dtype != jnp.int32 else leaf, new)
    for verdict, given, wanted in ((FINE, new, new), (SPIKE, new, old), (NOT_FINITE, bad, old)):
        kept = unless_skipped(jnp.int32(verdict), given, old)
        jax.tree.map(np.testing.assert_array_equal, kept, wanted)


def test_gradient_norms_by_tower():
    norms = tower_norms(
        {
            "params/llm/a/kernel": jnp.full((2, 2), 3.0),
            "params/llm/b/bias": jnp.full(2, 4.0),
            "lora/llm/a/lora_a": jnp.full(1, 2.0, jnp.bfloat16),
            "params/vision/cls": jnp.zeros(3),
        }
    )
    assert norms == {"llm": pytest.approx(68**0.5), "llm (lora)": 2.0, "vision": 0.0}


def spoil(*steps):
    def act(step, batch):
        if step in steps:
            batch["images"] = np.full(batch["images"].shape, np.nan, np.float32)

    return act


def test_one_bad_batch_costs_one_update_and_is_named(compiled, corpus, tmp_path):
    config = toy_config(corpus, "stage1")
    train(config, tmp_path, spoil(4))
    (skipped,) = events(tmp_path, "skipped")
    assert skipped["at"] == 4 and skipped["reason"] == "not finite" and skipped["loss"] is None
    assert len(skipped["samples"]) == 4
    assert all(name.startswith("toy/train/") for name in skipped["samples"])
    assert "grad_norm/projector" in skipped
    state = everything(tmp_path)
    assert all(np.isfinite(leaf).all() for leaf in state.values())
    assert int(state["step"]) == 10 and int(state["guards/skipped"]) == 1
    counts = [int(leaf) for name, leaf in state.items() if name.endswith("count")]
    assert set(counts) == {9}, "neither Adam nor the schedule has seen it"
    assert losses(tmp_path)[-1]["skipped"] == 1
    assert "the update of step 4 is skipped" in (tmp_path / "run.log").read_text()


@pytest.mark.slow
def test_a_spike_in_training_is_skipped_and_its_samples_are_named(compiled, corpus, tmp_path):
    def unheard(step, batch):
        if step == 17:
            batch["labels"][batch["labels"] != -100] = 900  # a piece that is in no text

    config = toy_config(
        corpus, "stage1", train={"steps": 20}, guards={"spike_sigma": 6.0, "spike_window": 8}
    )
    train(config, tmp_path, unheard)
    (skipped,) = events(tmp_path, "skipped")
    assert skipped["at"] == 17 and skipped["reason"] == "spike"
    assert len(skipped["samples"]) == 4 and skipped["grad_norm"] > 0
    state = everything(tmp_path, 20)
    counts = {int(leaf) for name, leaf in state.items() if name.endswith("count")}
    assert counts == {19} and int(state["guards/skipped"]) == 1


@pytest.mark.slow
def test_a_batch_without_labels_ends_the_run_and_names_its_samples(compiled, corpus, tmp_path):
    def unlabel(step, batch):
        if step == 2:
            batch["labels"][:] = -100

    with pytest.raises(TrainingError, match="carries a loss") as ended:
        train(toy_config(corpus, "stage1"), tmp_path, unlabel)
    assert ended.value.where.startswith("step 2") and ended.value.where.count("toy/train/") == 4


def test_too_many_in_a_row_end_the_run_with_everything_written_out(compiled, corpus, tmp_path):
    config = toy_config(corpus, "stage1", guards={"max_skipped": 3})
    with pytest.raises(TrainingError, match="3 updates in a row") as ended:
        train(config, tmp_path, spoil(1, *range(4, 10)))
    assert "stopped.json" in ended.value.where and "steps 4 to 6" in ended.value.where
    rows = json.loads((tmp_path / "stopped.json").read_text())
    assert [row["at"] for row in rows] == [4, 5, 6]
    for row in rows:
        assert {"lm", "loss", "grad_norm", "grad_norm/qformer", "samples"} <= row.keys()
    assert not (tmp_path / "results.json").exists()
    assert everything(tmp_path, 3), "the last good checkpoint is there"
    assert "3 updates in a row" in (tmp_path / "run.log").read_text()
