"""Updates that would do harm: skipped, counted, reported, and after too many the run ends."""

import functools
import json
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from toy_run import (
    assert_same_run,
    at,
    events,
    everything,
    losses,
    told_to_end,
    toy_config,
    train,
)

from zv_jax.config.schema import GuardConfig
from zv_jax.errors import TrainingError
from zv_jax.training.guards import (
    FINE,
    NOT_FINITE,
    NOTHING_TO_LEARN,
    SPIKE,
    carried_over,
    check_update,
    init_guards,
    tower_norms,
    unless_skipped,
)
from zv_jax.training.monitors import SkippedUpdates
from zv_jax.training.peers import StepInfo

CALM = GuardConfig(spike_sigma=4.0, spike_window=8)


def verdicts(cfg, values):
    """Verdicts of a series of (loss, gradient norm), and the state after it."""
    step = jax.jit(functools.partial(check_update, cfg))
    guards, found = init_guards(cfg), []
    for loss, norm in values:
        update_status, guards = step(guards, jnp.float32(loss), jnp.float32(norm), jnp.float32(7))
        found.append(int(update_status))
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


def test_a_spike_right_after_the_window_is_full_is_skipped():
    spike = (9.0, 1.0)
    for count, wanted in ((CALM.spike_window - 1, FINE), (CALM.spike_window, SPIKE)):
        found, _ = verdicts(CALM, [*noise(count), spike])
        assert found == [FINE] * count + [wanted]


def test_falling_values_are_no_spike_and_a_new_plateau_is_accepted():
    found, _ = verdicts(CALM, [*noise(10), (0.1, 0.01), *noise(10), *[(9.0, 9.0)] * 8])
    assert SPIKE not in found[:21]
    assert found[21] == SPIKE and found[-1] == FINE


def test_a_batch_without_any_token_to_learn_is_told_apart_from_a_perfect_one():
    for weight, wanted in ((0.0, NOTHING_TO_LEARN), (1.0, FINE)):
        values = (jnp.float32(v) for v in (0.0, 0.0, weight))
        update_status, _ = check_update(GuardConfig(), init_guards(GuardConfig()), *values)
        assert int(update_status) == wanted


def test_a_skipped_update_leaves_every_leaf_as_it_was():
    old = {"a": jnp.arange(3.0), "b": (jnp.int32(4), jnp.ones((2, 2), jnp.bfloat16))}
    new = jax.tree.map(lambda leaf: (leaf + 1).astype(leaf.dtype), old)
    bad = jax.tree.map(lambda leaf: leaf * np.nan if leaf.dtype != jnp.int32 else leaf, new)
    for status, given, wanted in (
        (FINE, new, new),
        (SPIKE, new, old),
        (NOT_FINITE, bad, old),
    ):
        kept = unless_skipped(jnp.int32(status), given, old)
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


@pytest.mark.slow
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


def of_two_kinds(cfg, share, steps):
    """Verdicts of the rarer kind, a `share` of the mixture, whose loss is 2.5 and not 0.6."""
    step, rng = jax.jit(functools.partial(check_update, cfg)), np.random.default_rng(0)
    guards, found = init_guards(cfg, kinds=2), []
    for number in range(steps):
        kind = int(number * share) < int((number + 1) * share)
        loss = jnp.float32((2.5 if kind else 0.6) + 0.05 * rng.standard_normal())
        update_status, guards = step(guards, loss, jnp.float32(1), jnp.float32(7), jnp.int32(kind))
        found += [int(update_status)] if kind else []
    return found, guards


@pytest.mark.parametrize("share", [0.01, 0.02, 0.025, 0.04])
def test_a_rare_kind_of_batch_with_a_higher_loss_is_no_spike(share):
    found, guards = of_two_kinds(GuardConfig(spike_sigma=6.0, spike_window=32), share, 1600)
    assert found == [FINE] * round(1600 * share)
    np.testing.assert_array_equal(guards["seen"], [1600 - len(found), len(found)])


def test_each_kind_is_judged_by_its_own_window():
    """One window for both would hold 2.5 to be usual."""
    step = jax.jit(functools.partial(check_update, CALM))
    _, guards = of_two_kinds(CALM, 0.5, 32)
    for kind, loss, wanted in ((0, 2.5, SPIKE), (1, 2.5, FINE), (1, 9.0, SPIKE)):
        values = (jnp.float32(value) for value in (loss, 1, 7))
        assert int(step(guards, *values, jnp.int32(kind))[0]) == wanted


def test_windows_of_other_kinds_or_lengths_begin_anew_and_the_count_of_skipped_ones_stays():
    _, held = verdicts(CALM, [*noise(9), (math.nan, 1.0)])
    same = carried_over(held, init_guards(CALM), same_data=True)
    assert same is held, "as a run of one kind stored them before there were kinds"
    kinds, shorter = init_guards(CALM, kinds=3), init_guards(GuardConfig(spike_window=5))
    # Of other sources there may be as many kinds as before.
    for fresh, same_data in ((kinds, True), (shorter, True), (init_guards(CALM), False)):
        changed = carried_over(held, fresh, same_data)
        assert int(changed["skipped"]) == 1 and not np.any(changed["seen"])
        assert {k: v.shape for k, v in changed.items()} == {k: v.shape for k, v in fresh.items()}


class Quiet:
    """A log that nobody reads."""

    def event(self, kind, **fields): ...

    def say(self, text): ...


def test_a_kind_that_is_always_skipped_ends_the_run_though_the_others_learn(tmp_path):
    patrol = SkippedUpdates(tmp_path, Quiet(), 3, ["vqa/train", "chat/train, talk/train"])
    good, bad = (
        {"update_status": jnp.int32(v), "loss": jnp.float32(1)} for v in (FINE, NOT_FINITE)
    )
    with pytest.raises(TrainingError, match="3 updates in a row.*chat/train, talk/train") as ended:
        for step in range(40):
            rare = step % 10 == 0
            metrics = bad if rare else good
            patrol.on_step(
                StepInfo(step + 1, None, {}, metrics, names=lambda: ["a"], kind=int(rare))
            )
    assert step == 21, "looked at one step late"
    assert "steps 0 to 20" in ended.value.where and "data.sources" in ended.value.fix
    assert [row["at"] for row in json.loads((tmp_path / "stopped.json").read_text())] == [0, 10, 20]


def two_kinds(corpus, **sections):
    """Of every four batches, three are of short rows and one is of long ones."""
    source = {"name": "jsonl", "path": str(corpus / "train.jsonl")}
    short = {**source, "max_length": 90, "weight": 3.0}
    return toy_config(corpus, "stage1", data={"sources": (short, source)}, **sections)


@pytest.mark.slow
def test_a_run_of_two_kinds_names_the_sources_that_are_always_skipped(compiled, corpus, tmp_path):
    def spoil_long(step, batch):
        if batch["input_ids"].shape[1] == config.data.max_length:
            batch["images"] = np.full(batch["images"].shape, np.nan, np.float32)

    config = two_kinds(corpus, guards={"max_skipped": 2})
    with pytest.raises(TrainingError, match=r"2 updates in a row of .* sources\[1\] jsonl"):
        train(config, tmp_path, spoil_long)
    kinds = {row["at"] for row in json.loads((tmp_path / "stopped.json").read_text())}
    assert len(kinds) == 2 and max(kinds) - min(kinds) == 4
    assert (everything(tmp_path, 3)["guards/seen"] >= [2, 0]).all()


@pytest.mark.slow
def test_windows_of_two_kinds_are_continued_bit_for_bit(compiled, corpus, tmp_path):
    config = two_kinds(corpus, guards={"spike_sigma": 6.0, "spike_window": 2})
    train(config, tmp_path / "whole")
    train(config, tmp_path / "parts", at(4, told_to_end))
    assert losses(tmp_path / "parts")[-1]["step"] == 5
    train(config, tmp_path / "parts")
    assert_same_run(tmp_path / "whole", tmp_path / "parts")
    assert everything(tmp_path / "parts")["guards/seen"].sum() == 10


@pytest.mark.slow
def test_a_checkpoint_of_one_kind_goes_on_with_two(compiled, corpus, tmp_path):
    """As one that was written before there were kinds."""
    train(toy_config(corpus, "stage1"), tmp_path, at(4, told_to_end))
    assert everything(tmp_path, 5)["guards/seen"].shape == ()
    train(two_kinds(corpus), tmp_path, allow_change=["data"])
    assert everything(tmp_path)["guards/seen"].sum() == 5
