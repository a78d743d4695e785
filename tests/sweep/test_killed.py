"""A real sweep of four small trainings, stopped half-way and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SWEEP = """
from zv_jax.sweep.points import Sweep, grid


def get_sweep():
    return Sweep(
        "{recipe}",
        grid(optimizer__lr=(1e-4, 1e-3, 1e-2, 1e-1)),
    )
"""
RECIPE = """
from zv_jax.config import recipe


def get_config(arg=""):
    return recipe(
        "quickstart_base",
        stage={"name": "stage0", "variant": "base"},
        data={"sources": ({"name": "zv_openmoji", "tasks": ("caption",)},),
              "max_text": 28, "max_length": 108, "max_answer": 72, "max_qformer_text": 28},
        optimizer={"warmup_steps": 0, "schedule": "constant"},
        train={"steps": 3, "batch_size": 8, "log_every": 1},
        checkpoint={"every": 1, "keep": 1},
    )
"""


@pytest.mark.slow
def test_a_sweep_goes_on_where_it_was_stopped(tmp_path):
    recipe, sweep, root = tmp_path / "recipe.py", tmp_path / "sweep.py", tmp_path / "runs"
    recipe.write_text(RECIPE)
    sweep.write_text(SWEEP.format(recipe=recipe))
    command = [sys.executable, "-m", "zv_jax", "sweep", f"--sweep={sweep}", f"--workdir={root}"]
    env = os.environ | {"PYTHONPATH": str(ROOT), "JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    first = subprocess.Popen(
        command,
        env=env,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        # A shell's background jobs, such as these tests may be, ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    while not list(root.glob("*/results.json")):
        assert first.poll() is None, first.stdout.read()
        time.sleep(0.2)
    first.send_signal(signal.SIGINT)
    first.wait(timeout=120)
    done = {path: path.stat().st_mtime_ns for path in root.glob("*/results.json")}
    assert 1 <= len(done) < 4
    again = subprocess.run(command, env=env, cwd=tmp_path, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr[-2000:]
    assert f"4 points, {len(done)} finished before" in again.stdout
    assert all(path.stat().st_mtime_ns == when for path, when in done.items()), "not run again"
    losses = [json.loads(p.read_text())["loss"] for p in root.glob("*/results.json")]
    assert len(losses) == 4 and f"loss {min(losses):.6g}" in again.stdout
    assert len((root / "sweep.csv").read_text().splitlines()) == 5
