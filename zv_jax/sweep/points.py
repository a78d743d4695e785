"""What a sweep tries: points, each a dictionary of dotted overrides of one recipe.

A sweep file is a Python file with `get_sweep() -> Sweep`; configs/sweeps/learning_rate.py is one.
"""

from __future__ import annotations

import hashlib
import importlib.util
import itertools
import json
import math
import random as random_lib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from absl import flags

from zv_jax.config import flags as recipes
from zv_jax.config import validate
from zv_jax.errors import ConfigError

Point = dict[str, object]


@dataclass(frozen=True)
class Sweep:
    """A recipe, the points to try and how to compare them.

    Attributes:
        config: as `zv train --config` takes it.
        points: overrides of each run: `{"optimizer.lr": 1e-4}`.
        metric: a field of the run's results, by default its last loss.
        goal: "min" or "max".
    """

    config: str
    points: Sequence[Point]
    metric: str = "loss"
    goal: str = "min"


def grid(**values: Sequence[object]) -> list[Point]:
    """Every combination: `grid(optimizer__lr=(1e-4, 1e-5), seed=(0, 1))` has four points.

    Two underscores stand for a dot.
    """
    names = [name.replace("__", ".") for name in values]
    return [dict(zip(names, each, strict=True)) for each in itertools.product(*values.values())]


def random(count: int, seed: int = 0, **ranges: Sequence[object] | tuple[float, float]) -> list:
    """`count` points drawn independently: a list is chosen from, a pair of floats is a range.

    A range is drawn from evenly in the logarithm, as learning rates want it; both ends are above 0.
    """
    dice, found = random_lib.Random(seed), []
    for _ in range(count):
        point: Point = {}
        for name, values in ranges.items():
            span = isinstance(values, tuple) and len(values) == 2
            if span and all(isinstance(v, float) and v > 0 for v in values):
                value = math.exp(dice.uniform(*map(math.log, values)))
                point[name.replace("__", ".")] = float(f"{value:.4g}")
            else:
                point[name.replace("__", ".")] = dice.choice(list(values))
        found.append(point)
    return found


def run_id(point: Mapping[str, object]) -> str:
    """A name for the point independent of order, sweep and machine: `lr=0.0001-1a2b3c4d`."""
    text = json.dumps({k: point[k] for k in sorted(point)}, ensure_ascii=False, default=list)
    short = ",".join(f"{k.rsplit('.', 1)[-1]}={point[k]}" for k in sorted(point))
    readable = re.sub(r"[^\w=.,+-]+", "_", short)[:60]
    return f"{readable or 'default'}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def overrides(point: Mapping[str, object]) -> list[str]:
    """The point as arguments of `zv train`."""
    written = {
        name: ",".join(map(str, value)) if isinstance(value, (list, tuple)) else value
        for name, value in point.items()
    }
    return [f"--config.{name}={value}" for name, value in written.items()]


def load(path: str) -> Sweep:
    """The sweep in a file, with every point checked against the recipe.

    Raises:
        ConfigError: the file has no sweep, or a point does not fit the recipe.
    """
    file = recipes.locate(path)
    spec = importlib.util.spec_from_file_location("zv_sweep", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        sweep = module.get_sweep()
    except ConfigError:
        raise
    except Exception as error:
        raise ConfigError(
            f"the sweep cannot be read: {type(error).__name__}: {error}",
            where=path,
            expected="a Python file with get_sweep() that returns a Sweep",
            fix="see configs/sweeps/learning_rate.py",
        ) from error
    _check(sweep, path)
    return sweep


def _check(sweep: Sweep, path: str) -> None:
    if not isinstance(sweep, Sweep) or sweep.goal not in ("min", "max") or not sweep.points:
        raise ConfigError(
            "the sweep has no points, or its goal is neither min nor max",
            where=path,
            expected="Sweep(config, points, metric, goal)",
            fix="see configs/sweeps/learning_rate.py",
        )
    seen: set[str] = set()
    for number, point in enumerate(sweep.points):
        name = run_id(point)
        try:
            if name in seen:
                raise ConfigError("the same point twice", fix="remove one of them")
            seen.add(name)
            resolved(sweep, point)
        except ConfigError as error:
            raise ConfigError(
                error.what, f"{path}, point {number} {point}: {error.where or ''}",
                error.expected, error.fix,
            ) from error  # fmt: skip


def resolved(sweep: Sweep, point: Point):
    """The validated configuration of one run."""
    values = flags.FlagValues()
    arguments = [f"--config={sweep.config}", *overrides(point)]
    recipes.parse(values, arguments, "config", "zv sweep")
    return validate(values.config)


def workdir(root: Path, point: Point) -> Path:
    """Where the run of a point lives."""
    return root / run_id(point)
