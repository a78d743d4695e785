"""Two processes on one machine: the same training as one, and clear ends of jobs that go wrong."""

import json

import pytest
from conftest import free_port


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


def test_hosts_with_different_recipes_all_stop_and_say_what_differs(job, tmp_path, recipe_file):
    train = ["train", "--config", f"{recipe_file}:stage2", "--workdir", str(tmp_path / "run")]
    commands = together(train, free_port())
    commands[1].append("--config.optimizer.lr=2e-3")
    for code, _, errors in job(commands, devices=4):
        assert code == 1
        assert "config.optimizer of process 1 is not that of process 0" in errors
    assert not (tmp_path / "run" / "checkpoints").exists()
