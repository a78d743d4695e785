"""What a sweep tries: points, each a dictionary of dotted overrides of one recipe.

A sweep file is a Python file with `get_sweep(arg) -> Sweep`, or `-> Ablation` where whole ways to
train are compared (`ablation.py`); configs/sweeps/learning_rate.py and base_against_chat.py are.
"""

from __future__ import annotations

import hashlib
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
    """The point as arguments of `zv train`; lists of words are joined by commas."""
    return [f"--config.{name}={written(value)}" for name, value in point.items()]


def written(value: object) -> object:
    """A value as the command line takes it: words joined by commas, anything else as it is."""
    plain = isinstance(value, (list, tuple)) and not any(isinstance(v, dict) for v in value)
    return ",".join(map(str, value)) if plain else value


def check_point(config: str, point: Point, where: str) -> None:
    """Checks a point against its recipe.

    Raises:
        ConfigError: the recipe cannot be read, or the point does not fit it.
    """
    try:
        resolved(Sweep(config, [point]), point)
    except ConfigError as error:
        raise ConfigError(
            error.what, f"{where}: {error.where or ''}", error.expected, error.fix
        ) from error


def resolved(sweep: Sweep, point: Point):
    """The validated configuration of one run."""
    values = flags.FlagValues()
    arguments = [f"--config={sweep.config}", *overrides(point)]
    recipes.parse(values, arguments, "config", "zv sweep")
    return validate(values.config)


def workdir(root: Path, point: Point) -> Path:
    """Where the run of a point lives."""
    return root / run_id(point)
