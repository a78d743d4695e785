"""Disks that fill up or fail while a run saves: training goes on, nothing is lost."""

import io
import os
import subprocess

import jax.numpy as jnp
import numpy as np
import pytest
from toy_run import events, toy_config, train

from zv_jax.checkpoints.manager import Checkpointer, load_params
from zv_jax.config.schema import CheckpointConfig
from zv_jax.errors import CheckpointError
from zv_jax.files import read_jsonl
from zv_jax.training import trainer
from zv_jax.training.metrics import MetricLog
from zv_jax.training.peers import StepInfo
from zv_jax.training.step import TrainState
from zv_jax.training.trainer import CheckpointSchedule

SIZE = 200_000  # numbers of the state, 0.8 MB


def state(step):
    rng = np.random.default_rng(step)  # what compresses badly
    trainable = {"params/projector/kernel": jnp.asarray(rng.normal(size=SIZE), jnp.float32)}
    return TrainState(jnp.int32(step), trainable, (), {})


LOSS = {"loss": jnp.float32(1.0)}


def info(step):
    return StepInfo(step, state(step), {}, LOSS)


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 48 MB, enough for a few checkpoints."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=48m", "tmpfs", str(place)]
    if os.geteuid() or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("only root may make a small file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place):
    """Takes all the space there is."""
    with (place / "filler").open("wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            pass


class Training:
    """Steps that save as the loop does."""

    def __init__(self, workdir, checkpoints, every=5):
        self.workdir, self.checkpoints = workdir, checkpoints
        self.log = MetricLog(workdir, 100, stream=io.StringIO())
        self.log.start(0)
        describe = lambda: {"config": {}}
        self.schedule = CheckpointSchedule(checkpoints, self.log, every, 10**6, describe, {})

    def run(self, first, last):
        for step in range(first, last):
            self.log.advance(1)
            self.schedule.on_step(info(step))
            self.checkpoints_done()

    def checkpoints_done(self):
        """Saves are written behind the steps; here a step takes as long as they do."""
        try:
            self.checkpoints.wait()
        except CheckpointError as error:
            self.schedule._failed(self.log._step, error)

    def events(self, kind):
        return [e for e in read_jsonl(self.workdir / "events.jsonl") if e["kind"] == kind]


def test_a_full_disk_costs_no_step_and_is_tried_again_until_there_is_room(small_disk):
    with Checkpointer(small_disk, CheckpointConfig(every=5, keep=2)) as checkpoints:
        training = Training(small_disk, checkpoints)
        training.run(1, 9)
        assert checkpoints.latest_step() == 5
        fill(small_disk)
        training.run(9, 14)  # attempts at 10, 11 and 13
        assert checkpoints.latest_step() == 5, "the last good one stays"
        kept = load_params(small_disk, 5)[0]["params/projector/kernel"]
        np.testing.assert_array_equal(kept, state(5).trainable["params/projector/kernel"])
        (small_disk / "filler").unlink()
        training.run(14, 19)
        training.schedule.last(19, state(19), {}, LOSS, pause=0.0)
        failed = training.events("save_failed")
        assert [e["attempt"] for e in failed] == [1, 2, 3]
        assert all("no space left" in e["error"] for e in failed)
        assert checkpoints.latest_step() == 19
        assert training.events("save")[-1]["checkpoint"] == 19
    left = {p.name for p in (small_disk / "checkpoints").iterdir()}
    assert not [name for name in left if "tmp" in name], "the halves of failed saves are gone"


def test_a_disk_that_stays_full_ends_the_run_with_the_last_good_step(small_disk, monkeypatch):
    monkeypatch.setattr(trainer, "ATTEMPTS", 3)
    with Checkpointer(small_disk, CheckpointConfig(every=5, keep=2)) as checkpoints:
        training = Training(small_disk, checkpoints)
        training.run(1, 6)
        fill(small_disk)
        with pytest.raises(CheckpointError, match="no space left") as ended:
            training.schedule.last(7, state(7), {}, LOSS, pause=0.0)
        assert "free some space" in ended.value.fix
        (small_disk / "filler").unlink()
    assert load_params(small_disk)[1]["step"] == 5


class Flaky:
    """Checkpoints whose saves fail and succeed by turns."""

    def __init__(self):
        self.saves, self.good, self.new = 0, None, None

    def is_due(self, step):
        return True

    def latest_step(self):
        return self.good

    def save(self, step, *_, **__):
        self.saves += 1
        if self.saves % 2:
            raise CheckpointError("no answer", where="storage")
        self.good = self.new = step

    def finished(self, wait):
        done, self.new = self.new, None
        return done


def test_failures_with_good_saves_between_them_do_not_add_up(tmp_path):
    training = Training(tmp_path, Flaky())
    for step in range(1, 2 * trainer.ATTEMPTS + 4):
        training.schedule.on_step(info(step))
    failed = [event["attempt"] for event in training.events("save_failed")]
    assert failed == [1] * (trainer.ATTEMPTS + 2)


@pytest.mark.slow
def test_a_training_whose_disk_is_full_for_a_while_ends_with_the_same_bits(
    compiled, corpus, small_disk, tmp_path
):
    def act(step, batch):
        if step == 4:
            fill(small_disk)
        if step == 8:
            (small_disk / "filler").unlink()

    config = toy_config(corpus, "stage1", checkpoint={"folder": str(small_disk), "keep": 2})
    train(config, tmp_path / "run", act)
    failed = events(tmp_path / "run", "save_failed")
    assert failed and all("no space left" in e["error"] for e in failed)
    assert events(tmp_path / "run", "save")[-1]["checkpoint"] == 10
    train(toy_config(corpus, "stage1"), tmp_path / "straight")
    straight, full = load_params(tmp_path / "straight")[0], load_params(small_disk)[0]
    assert straight.keys() == full.keys()
    for name in straight:
        np.testing.assert_array_equal(straight[name], full[name], err_msg=name)


def test_the_best_steps_stay_beside_the_latest(tmp_path):
    cfg = CheckpointConfig(every=1, keep=1, best=2, metric="loss")
    values = [3.0, 0.5, 2.0, float("nan"), 0.25, 4.0]
    with Checkpointer(tmp_path, cfg) as checkpoints:
        for step, value in enumerate(values, 1):
            checkpoints.save(step, state(step), {}, {}, metrics={"loss": value})
    with Checkpointer(tmp_path, cfg) as checkpoints:
        assert checkpoints.latest_step() == 6
    kept = {p.name for p in (tmp_path / "checkpoints").iterdir() if p.name.isdecimal()}
    assert kept == {"2", "5", "6"}
    highest = CheckpointConfig(every=1, keep=1, best=1, metric="loss", best_is="highest")
    with Checkpointer(tmp_path / "high", highest) as checkpoints:
        for step, value in enumerate(values, 1):
            checkpoints.save(step, state(step), {}, {}, metrics={"loss": value})
    kept = {p.name for p in (tmp_path / "high/checkpoints").iterdir() if p.name.isdecimal()}
    assert kept == {"6"}
