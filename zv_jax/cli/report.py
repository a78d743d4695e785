"""`zv report`: the runs of a folder as one page."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.errors import DataError

USAGE = """
usage: zv report --runs DIR

  zv report --runs runs/quickstart

Writes DIR/report.html (one file, opens anywhere) and DIR/results.json.
"""


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("runs", None, "folder that holds the workdirs", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    runs = Path(required(values, "runs", "runs/quickstart"))
    if not runs.is_dir():
        raise DataError(
            f"there is no folder {str(runs)!r}",
            where=str(runs.absolute()),
            expected="a folder that holds workdirs of zv train and zv eval",
            fix="make quickstart",
        )
    from zv_jax.evaluation import report

    print(f"report: {Path(report.build(runs)).resolve()}")
