"""Two processes on one machine: the same training as one, and clear ends of jobs that go wrong."""

import json
import signal
import time

import pytest
from conftest import free_port

from zv_jax.cli.train import AGAIN


def losses(workdir) -> list[float]:
    rows = (workdir / "metrics.jsonl").read_text().splitlines()
    return [json.loads(row)["loss"] for row in rows]


def together(command: list[str], port: int, count: int = 2) -> list[list[str]]:
    return [
        [*command, f"--coordinator=127.0.0.1:{port}", f"--num_processes={count}",
         f"--process_id={i}"] for i in range(count)
    ]  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["stage0", "stage2"])
def test_two_processes_of_four_devices_train_as_one_of_eight(job, tmp_path, recipe_file, stage):
    train = ["train", "--config", f"{recipe_file}:{stage}", "--workdir"]
    ((code, _, errors),) = job([[*train, str(tmp_path / "one")]], devices=8)
    assert code == 0, errors[-2000:]
    done = job(together([*train, str(tmp_path / "two")], free_port()), devices=4)
    for code, _, errors in done:
        assert code == 0, errors[-2000:]
    one, two = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert len(one) == 4 and two == pytest.approx(one, rel=1e-5)
    # Only the first process talks; each keeps its own log.
    assert "step 4/4" in done[0][2] and "step 4/4" not in done[1][2]
    for i in range(2):
        log = (tmp_path / "two" / ("run.log", "run-1.log")[i]).read_text()
        assert f"process {i} of 2" in log and "4 of 8 devices" in log
        assert "compiling the step took" in log


@pytest.mark.slow
def test_when_one_host_is_preempted_both_save_the_same_step_and_the_command_continues(
    job, tmp_path, recipe_file
):
    run = tmp_path / "run"
    train = ["train", "--config", f"{recipe_file}:stage2", "--workdir", str(run)]
    endless = [*train, "--config.train.steps=100000"]
    told = []

    def preempt(started):
        while not (run / "metrics.jsonl").exists() and started[1].poll() is None:
            time.sleep(0.1)
        started[1].send_signal(signal.SIGTERM)
        told.append(time.monotonic())

    done = job(together(endless, free_port()), devices=4, meanwhile=preempt)
    assert time.monotonic() - told[0] < 30
    assert [code for code, _, _ in done] == [AGAIN, AGAIN], done[0][2][-2000:]
    (step,) = (int(p.name) for p in (run / "checkpoints").iterdir() if p.name.isdecimal())
    for log in ("run.log", "run-1.log"):
        assert f"told to end; step {step} is saved" in (run / log).read_text()
    longer = [f"--config.train.steps={step + 2}", "--allow_change=train.steps"]
    for code, _, errors in job(together([*train, *longer], free_port()), devices=4):
        assert code == 0, errors[-2000:]
    steps = [json.loads(row)["step"] for row in (run / "metrics.jsonl").read_text().splitlines()]
    assert steps == list(range(1, step + 3)), "nothing is lost or done twice"


def test_hosts_with_different_recipes_all_stop_and_say_what_differs(job, tmp_path, recipe_file):
    train = ["train", "--config", f"{recipe_file}:stage2", "--workdir", str(tmp_path / "run")]
    commands = together(train, free_port())
    commands[1].append("--config.optimizer.lr=2e-3")
    for code, _, errors in job(commands, devices=4):
        assert code == 2
        assert "config.optimizer of process 1 is not that of process 0" in errors
    assert not (tmp_path / "run" / "checkpoints").exists()
