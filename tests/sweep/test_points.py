"""Points of a sweep: combinations, draws, names, and mistakes found before anything runs."""

import re

import pytest

from zv_jax.errors import ConfigError
from zv_jax.sweep import files, launchers, points
from zv_jax.sweep.points import Sweep, grid, random, run_id

TINY = "configs/quickstart.py:stage0"


def test_a_grid_has_every_combination():
    found = grid(optimizer__lr=(1e-4, 1e-5), seed=(0, 1))
    assert found[1] == {"optimizer.lr": 1e-4, "seed": 1} and len(found) == 4


def test_random_points_repeat_with_their_seed_and_stay_in_range():
    def draw(seed):
        return random(20, seed, optimizer__lr=(1e-5, 1e-2))

    assert draw(0) == draw(0) != draw(1)
    rates = [p["optimizer.lr"] for p in draw(0)]
    assert all(1e-5 <= rate <= 1e-2 for rate in rates)
    assert sum(rate < 3e-4 for rate in rates) > 4, "even in the logarithm"


def test_the_name_of_a_run_depends_on_its_numbers_alone():
    assert run_id({"a.lr": 1e-4, "seed": 1}) == run_id({"seed": 1, "a.lr": 1e-4})
    assert run_id({"a.lr": 1e-4}) != run_id({"b.lr": 1e-4})
    assert run_id({"a.lr": 1e-4}).startswith("lr=0.0001-")
    assert run_id({"data.path": "x/y z"}).count("/") == 0


def sweep_file(tmp_path, body: str):
    path = tmp_path / "sweep.py"
    path.write_text(
        "from zv_jax.sweep.points import Sweep, grid\ndef get_sweep():\n    return " + body, "utf-8"
    )
    return str(path)


@pytest.mark.parametrize(
    "body, words",
    [
        (f"Sweep('{TINY}', grid(optimizer__rl=(1.0,)))", "optimizer.rl"),
        (f"Sweep('{TINY}', grid(optimizer__lr=('fast',)))", "a number"),
        (f"Sweep('{TINY}', [])", "no points"),
        (f"Sweep('{TINY}', [{{'seed': 1}}, {{'seed': 1}}])", "the same point twice"),
        ("Sweep('configs/quickstrat.py', [{}])", "configs/quickstart.py"),
        ("1 / 0", "ZeroDivisionError"),
    ],
)
def test_mistakes_are_found_before_anything_runs(tmp_path, body, words):
    with pytest.raises(ConfigError) as caught:
        files.load(sweep_file(tmp_path, body))
    assert words in str(caught.value) and "sweep.py" in str(caught.value)


def test_lists_become_overrides():
    point = {"init_from": ("a", "b"), "optimizer.lr": 1e-4}
    assert points.overrides(point) == ["--config.init_from=a,b", "--config.optimizer.lr=0.0001"]
    assert points.resolved(Sweep(TINY, [point]), point).init_from == ("a", "b")


def test_the_example_is_valid():
    assert len(files.load("configs/sweeps/learning_rate.py").points) == 4


@pytest.mark.parametrize(
    "folder, name",
    [
        ("lr=0.001,warmup_steps=5,steps=40-c9f1a620", "zv-001-warmup-steps-5-steps-40-c9f1a620"),
        ("lr=1e-05-1a2b3c4d", "zv-lr-1e-05-1a2b3c4d"),
        ("default-1a2b3c4d", "zv-default-1a2b3c4d"),
        ("名字-1a2b3c4d", "zv-1a2b3c4d"),
        ("x" * 50, "zv-" + "x" * 37),
    ],
)
def test_every_launcher_takes_the_name_of_a_job(folder, name):
    assert launchers.job_name(folder) == name
    assert re.fullmatch("[a-z]([-a-z0-9]{0,38}[a-z0-9])?", name)


def test_unknown_launcher(tmp_path):
    with pytest.raises(ConfigError, match="unknown launcher 'slrum'; did you mean 'slurm'"):
        launchers.command("slrum", Sweep(TINY, [{}]), {}, tmp_path, [])
