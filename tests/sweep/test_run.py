"""The local launcher with a program that takes no time: finished, failed, retried, interrupted."""

import json
import sys

import pytest

from zv_jax.cli import main as cli
from zv_jax.errors import ConfigError
from zv_jax.sweep import launchers, table
from zv_jax.sweep.points import Sweep, grid, run_id, workdir
from zv_jax.sweep.run import sweep_points

SWEEP = Sweep("configs/quickstart.py:stage0", grid(optimizer__lr=(1e-3, 2e-3, 3e-3)))
PROGRAM = """
import json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
(folder / "calls").open("a").write("x")
rate = float(folder.name.split("=")[1].split("-")[0])
if rate == 0.002 and not (folder / "mended").exists():
    (folder / "mended").touch()
    print("zv: it broke", file=sys.stderr)
    sys.exit(1)
with (folder / "metrics.jsonl").open("w") as file:
    for step in (1, 2):
        file.write(json.dumps({"step": step, "loss": rate * 1000 / step, "seconds": step}) + "\\n")
(folder / "results.json").write_text(json.dumps({"step": 2, "loss": rate * 500}))
"""


@pytest.fixture(autouse=True)
def _program(monkeypatch):
    def command(launcher, sweep, point, root, extra):
        return [sys.executable, "-c", PROGRAM, str(workdir(root, point))]

    monkeypatch.setattr(launchers, "command", command)


def calls(root, point) -> int:
    return len((workdir(root, point) / "calls").read_text())


def test_failed_points_are_tried_again_and_finished_ones_are_not(tmp_path):
    said = []
    found = sweep_points(SWEEP, tmp_path, retries=0, say=said.append)
    assert [row.state for row in found] == ["finished", "finished", "failed"]
    assert "zv: it broke" in "\n".join(said)
    again = sweep_points(SWEEP, tmp_path, parallel=2, say=said.append)
    assert "3 points, 2 finished before" in said
    assert [row.value for row in again] == [0.5, 1.0, 1.5]
    assert [calls(tmp_path, point) for point in SWEEP.points] == [1, 2, 1]
    shown = table.text(SWEEP, again)
    assert f"best: {run_id(SWEEP.points[0])} (optimizer.lr=0.001): loss 0.5" in shown
    lines = (tmp_path / "sweep.csv").read_text().splitlines()
    assert len(lines) == 4 and lines[0] == "run,optimizer.lr,loss,seconds,state"
    page = (tmp_path / "sweep.html").read_text()
    assert page.count("<path") == 6 and run_id(SWEEP.points[2]) in page


def test_the_best_may_be_the_largest(tmp_path):
    upwards = Sweep(SWEEP.config, SWEEP.points, goal="max")
    found = sweep_points(upwards, tmp_path, say=lambda _: None)
    assert found[0].value == 1.5


def test_a_point_that_keeps_failing_is_reported(tmp_path, monkeypatch, capsys):
    def broken(launcher, sweep, point, root, extra):
        return [sys.executable, "-c", "import sys; print('zv: no'); sys.exit(3)"]

    monkeypatch.setattr(launchers, "command", broken)
    code = cli.main(
        ["sweep", "--sweep=configs/sweeps/learning_rate.py", f"--workdir={tmp_path}", "--retries=0"]
    )
    shown = capsys.readouterr()
    assert code == 1 and "4 of 4 points failed" in shown.err and "failed" in shown.out


def test_a_dry_run_runs_nothing(tmp_path):
    said = []
    sweep_points(SWEEP, tmp_path, dry_run=True, say=said.append)
    assert len(said) == 4 and not list(tmp_path.iterdir())


CLUSTERS = {
    "gke": ["--cluster=C", "--zone=z", "--type=v5litepod-16", "--image=R/zv:1"],
    "tpu_vm": ["--zone=z", "--type=v5litepod-16"],
    "slurm": ["--partition=gpu"],
}


@pytest.mark.parametrize("launcher", CLUSTERS)
def test_a_dry_run_for_a_cluster_is_one_of_its_script(launcher, tmp_path, monkeypatch):
    monkeypatch.undo()  # the real command
    rates = Sweep(SWEEP.config, grid(optimizer__lr=(1e-3, 0.25), train__steps=(40,)))
    said = []
    sweep_points(rates, tmp_path, launcher, CLUSTERS[launcher], dry_run=True, say=said.append)
    program = {"gke": "xpk", "tpu_vm": "gcloud", "slurm": "sbatch"}[launcher]
    assert all(program in text for text in said[1:]) and len(said) == 3
    assert "--config.optimizer.lr=0.001" in said[1].replace("\\", "")
    if launcher != "slurm":  # which asks for nothing
        with pytest.raises(
            ConfigError, match="refuses its arguments: --(zone|cluster) is"
        ) as caught:
            sweep_points(rates, tmp_path, launcher, [], dry_run=True, say=said.append)
        assert caught.value.fix.startswith("--launch=--")


def test_the_table_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        from zv_jax.sweep.run import write

        write(SWEEP, tmp_path / "file", [])


@pytest.mark.parametrize("goal,best", [("min", 1), ("max", 2)])
@pytest.mark.parametrize("broken", ["NaN", "null", "Infinity", "-Infinity", "9" * 400])
def test_what_is_no_number_is_never_the_best(tmp_path, goal, best, broken):
    sweep = Sweep(SWEEP.config, SWEEP.points, goal=goal)
    for point, value in zip(sweep.points, (broken, "0.5", "0.7"), strict=True):
        folder = workdir(tmp_path, point)
        folder.mkdir(parents=True)
        (folder / "results.json").write_text(f'{{"loss": {value}}}')
        (folder / "metrics.jsonl").write_text(f'{{"step": 1, "loss": {value}}}\n')
    found = table.rows(sweep, tmp_path, {})
    assert [row.id for row in found][0] == run_id(sweep.points[best])
    assert found[-1].id == run_id(sweep.points[0]) and found[-1].curve == []
    assert table.cells(sweep, found)[-1][2] == "nan"
    shown = table.text(sweep, found)
    assert f"best: {run_id(sweep.points[best])}" in shown
    assert "NaN" not in table.html(sweep, found) and "nan," not in table.html(sweep, found)
    worst_first = [found[-1], *found[:-1]]
    assert f"best: {run_id(sweep.points[best])}" in table.text(sweep, worst_first)
    assert "best: none, since no finished run has a finite 'loss'" in table.text(sweep, found[-1:])


def test_a_metric_that_no_run_has_is_said(tmp_path):
    folder = workdir(tmp_path, SWEEP.points[0])
    folder.mkdir(parents=True)
    (folder / "results.json").write_text('{"loss": 1}')
    sweep = Sweep(SWEEP.config, SWEEP.points, metric="los")
    assert "no finished run has a finite 'los'" in table.text(
        sweep, table.rows(sweep, tmp_path, {})
    )


def test_results_cut_short_do_not_count(tmp_path):
    folder = workdir(tmp_path, SWEEP.points[0])
    folder.mkdir(parents=True)
    (folder / "results.json").write_text(json.dumps({"loss": 1})[:-2])
    assert table.read_results(folder) is None
