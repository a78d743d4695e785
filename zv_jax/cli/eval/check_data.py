"""`zv eval check-data`: what is missing for a suite of benchmarks, before anything runs."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.errors import DataError

USAGE = """
usage: zv eval check-data --suite FILE

  zv eval check-data --suite configs/eval/ziya.py
"""
TAKES_CONFIG = "suite"


def define(values: flags.FlagValues) -> None:
    """The suite is its only flag."""


def run(values: flags.FlagValues, words: list[str]) -> None:
    suite = required(values, "config", "configs/eval/ziya.py", flag="suite")
    from zv_jax.evaluation import check, config
    from zv_jax.evaluation import task as task_lib

    checked = config.validate(suite)
    tasks = [task_lib.load(name) for name in checked.tasks]
    findings = check.check([task for task in tasks if task.expected], checked.data)
    print(check.render(findings))
    missing = [f.benchmark for f in findings if not f.complete]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(findings)} benchmarks cannot be run",
            where=str(Path(checked.data).absolute()),
            expected="one folder for each data set, in its published layout",
            fix="zv data list NAME says how to obtain a data set",
        )
