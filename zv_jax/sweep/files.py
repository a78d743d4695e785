"""The file of a sweep: `get_sweep(arg)` returns a `Sweep` or an `Ablation`, checked here."""

from __future__ import annotations

import importlib.util
import inspect
from types import ModuleType

from zv_jax.config import flags as recipes
from zv_jax.errors import ConfigError
from zv_jax.sweep import ablation as ablation_lib
from zv_jax.sweep.ablation import Ablation
from zv_jax.sweep.points import Sweep, check_point, run_id

_EXPECTED = "a Python file with get_sweep(arg) that returns a Sweep or an Ablation"


def load(spec: str) -> Sweep | Ablation:
    """The sweep in `FILE` or `FILE:ARG`, with every run checked against its recipe.

    Raises:
        ConfigError: the file has no sweep, takes no such argument, or a run does not fit its
            recipe.
    """
    path, _, arg = spec.partition(":")
    module = _module(path)
    try:
        takes_one = bool(inspect.signature(module.get_sweep).parameters)
        if arg and not takes_one:
            raise ConfigError(
                "this sweep takes no argument", where=spec, expected=path, fix=f"--sweep {path}"
            )
        sweep = module.get_sweep(arg) if takes_one else module.get_sweep()
    except ConfigError:
        raise
    except Exception as error:
        raise _unreadable(path, error) from error
    if isinstance(sweep, Ablation):
        ablation_lib.check(sweep, spec)
    else:
        _check(sweep, spec)
    return sweep


def _module(path: str) -> ModuleType:
    file = recipes.locate(path)
    spec = importlib.util.spec_from_file_location("zv_sweep", file)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        raise _unreadable(path, error) from error
    return module


def _unreadable(path: str, error: Exception) -> ConfigError:
    return ConfigError(
        f"the sweep cannot be read: {type(error).__name__}: {error}",
        where=path,
        expected=_EXPECTED,
        fix="see configs/sweeps/learning_rate.py",
    )


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
        name, where = run_id(point), f"{path}, point {number} {point}"
        if name in seen:
            raise ConfigError("the same point twice", where=where, fix="remove one of them")
        seen.add(name)
        check_point(sweep.config, point, where)
