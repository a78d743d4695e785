"""Long ones: `make soak`. Random kills, another mesh and number of processes, steady memory."""

import json
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import toy_run
from toy_run import (
    assert_same_run,
    at,
    events,
    everything,
    finished_steps,
    losses,
    stop,
    toy_config,
    train,
)

from zv_jax.files import read_jsonl

pytestmark = pytest.mark.soak
KILLS = 20


def test_killed_at_twenty_random_moments_nothing_is_lost(compiled, corpus, tmp_path):
    """Saves are frequent, so that many of the kills fall into one."""
    steps = 500
    config = toy_config(corpus, "stage1", train={"steps": steps}, checkpoint={"every": 2})
    path = toy_run.write_config(config, tmp_path / "config.json")
    workdir = tmp_path / "run"
    program = [sys.executable, toy_run.__file__, str(workdir), str(path)]
    choose, during_save = random.Random(0), 0

    def starts():
        if not (workdir / "events.jsonl").exists():
            return []
        return [e["step"] for e in read_jsonl(workdir / "events.jsonl") if "devices" in e]

    for kill in range(KILLS + 1):
        saved = max(finished_steps(workdir), default=0)
        running = subprocess.Popen(program)
        while len(starts()) == kill:
            assert running.poll() is None
            time.sleep(0.02)
        assert starts()[-1] == saved, "it continues from the last save that was complete"
        if kill < KILLS:
            time.sleep(choose.uniform(0.0, 8.0))  # the first step comes after one to four
            assert running.poll() is None, "too fast to be killed"
            running.kill()
            during_save += bool(list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")))
        running.wait()
    assert running.returncode == 0
    assert during_save, "no kill fell into a save: kill more often"
    # A program of its own too: flags of XLA that this process read may round otherwise.
    straight = [sys.executable, toy_run.__file__, str(tmp_path / "straight"), str(path)]
    assert subprocess.run(straight).returncode == 0
    assert_same_run(tmp_path / "straight", workdir, steps)


def test_another_mesh_and_number_of_processes_continue_within_rounding(
    compiled, corpus, tmp_path, fresh_python, processes
):
    config = {
        data: toy_config(corpus, "stage1", train={"batch_size": 8}, mesh=mesh)
        for data, mesh in (
            ("8", {"data": 8, "fsdp": 1, "tensor": 1}),
            ("222", {"data": 2, "fsdp": 2, "tensor": 2}),
        )
    }
    paths = {n: str(toy_run.write_config(c, tmp_path / f"{n}.json")) for n, c in config.items()}

    def alone(workdir, name, *more):
        return fresh_python(
            toy_run.__file__, str(tmp_path / workdir), paths[name], *more, devices=8, timeout=900
        )

    assert alone("straight", "8").returncode == 0
    for workdir in ("mesh", "hosts"):
        assert alone(workdir, "8", "die_at=8").returncode == -9
    assert alone("mesh", "222").returncode == 0
    run = [toy_run.__file__, str(tmp_path / "hosts"), paths["8"]]
    for code, errors in processes([[*run, "process=0"], [*run, "process=1"]], devices=4):
        assert code == 0, errors[-3000:]
    wanted = everything(tmp_path / "straight")
    for workdir in ("mesh", "hosts"):
        assert events(tmp_path / workdir, "restore")
        for name, leaf in everything(tmp_path / workdir).items():
            # A bias of keys adds the same to all scores of a softmax: its gradient is 0 but for
            # rounding, from which Adam makes steps of the learning rate, here and there.
            noise = "opt_state" not in name and name.endswith("/k/bias")
            far = 2 * config["8"].train.steps * config["8"].optimizer.lr if noise else 1e-6
            np.testing.assert_allclose(leaf, wanted[name], 1e-6, far, err_msg=name)
        for row, other in zip(
            losses(tmp_path / "straight"), losses(tmp_path / workdir), strict=True
        ):
            assert row["loss"] == pytest.approx(other["loss"], rel=1e-6)


def test_memory_does_not_grow_over_five_thousand_steps(compiled, corpus, tmp_path):
    steps = 5000
    config = toy_config(
        corpus, "stage1", train={"steps": steps, "log_every": 50}, checkpoint={"every": 50}
    )
    train(config, tmp_path)
    memory = {row["step"]: row["rss_bytes"] for row in read_jsonl(tmp_path / "metrics.jsonl")}
    early = np.median([memory[step] for step in range(450, 551, 50)])
    late = np.median([memory[step] for step in range(steps - 100, steps + 1, 50)])
    assert late < 1.05 * early, json.dumps(memory)
    assert len(events(tmp_path, "save")) == steps // 50


def test_a_latest_checkpoint_damaged_between_two_starts(compiled, corpus, tmp_path):
    config = toy_config(corpus, "stage1")
    with pytest.raises(toy_run.Stop):
        train(config, tmp_path / "run", at(8, stop))
    for path in (tmp_path / "run/checkpoints/6/state").rglob("d/*"):
        path.write_bytes(path.read_bytes()[:100])
    train(config, tmp_path / "run")
    assert [e["step"] for e in events(tmp_path / "run", "restore")] == [3]
    assert (tmp_path / "run/checkpoints/unreadable/6-0").is_dir()
    assert "continuing from step 3" in (tmp_path / "run/run.log").read_text()
    train(config, tmp_path / "straight")
    assert_same_run(tmp_path / "straight", tmp_path / "run")
