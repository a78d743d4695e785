"""Long ones: `make soak`. Random kills, another mesh and number of processes, steady memory."""

import json
import random
import subprocess
import sys
import time

import numpy as np
import pytest
import toy_run
from toy_run import assert_same_run, at, events, everything, losses, stop, toy_config, train

from zv_jax.training.jsonl import read_jsonl

pytestmark = pytest.mark.soak
KILLS = 20


def finished_steps(workdir):
    """Steps whose checkpoint is complete, as a process that starts now would find them."""
    return [int(p.parent.name) for p in (workdir / "checkpoints").glob("*/_CHECKPOINT_METADATA")]


def test_killed_at_twenty_random_moments_nothing_is_lost(compiled, corpus, tmp_path):
    """Saves are frequent, so that many of the kills fall into one."""
    steps = 400
    config = toy_config(
        corpus, "stage1", train={"steps": steps, "log_every": 1}, checkpoint={"every": 2}
    )
    path = toy_run.write_config(config, tmp_path / "config.json")
    workdir = tmp_path / "run"
    program = [sys.executable, toy_run.__file__, str(workdir), str(path)]
    choose, during_save = random.Random(0), 0
    for _ in range(KILLS):
        starts = len(events(workdir)) if (workdir / "events.jsonl").exists() else 0
        running = subprocess.Popen(program, stderr=subprocess.DEVNULL)
        while not (workdir / "events.jsonl").exists() or len(events(workdir)) == starts:
            assert running.poll() is None
            time.sleep(0.05)
        time.sleep(choose.uniform(0.0, 3.0))
        running.kill()
        running.wait()
        during_save += bool(list((workdir / "checkpoints").glob("*.orbax-checkpoint-tmp*")))
        saved = max(finished_steps(workdir), default=0)
        running = subprocess.Popen([*program, f"die_at={min(saved + 3, steps - 1)}"])
        assert running.wait() == -9
        last = [e for e in events(workdir) if e["kind"] in ("start", "restore")][-1]
        assert last["step"] == saved, "it continues from the last save that was complete"
    assert during_save, "no kill fell into a save: kill more often"
    assert subprocess.run(program).returncode == 0
    train(config, tmp_path / "straight")
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
            np.testing.assert_allclose(leaf, wanted[name], 1e-6, 1e-6, err_msg=name)
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
