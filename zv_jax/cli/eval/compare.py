"""`zv eval compare`: what changed between two evaluations, and whether it is chance."""

from __future__ import annotations

import json

from absl import flags

from zv_jax.errors import ConfigError

USAGE = """
usage: zv eval compare A B

  zv eval compare runs/eval_a runs/eval_b
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_boolean("json", False, "JSON instead of a table", flag_values=values)


def run(values: flags.FlagValues, folders: list[str]) -> None:
    if len(folders) != 2:
        raise ConfigError(
            f"{len(folders)} folders to compare",
            where="zv eval compare",
            expected="two folders with results.json",
            fix="zv eval compare runs/eval_a runs/eval_b",
        )
    from zv_jax.evaluation import compare

    rows = compare.compare(*folders)
    print(json.dumps(rows, ensure_ascii=False, indent=1) if values.json else compare.render(rows))
