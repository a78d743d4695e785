"""`zv eval`: scores of a checkpoint on a suite of tasks."""

from __future__ import annotations

import json
from pathlib import Path

from absl import flags

from zv_jax import runtime
from zv_jax.cli.arguments import required
from zv_jax.errors import ConfigError

USAGE = """
usage: zv eval --checkpoint PATH --suite FILE[:ARG] --workdir DIR [--suite.field=value ...]
       zv eval compare A B               what changed between two results folders, and is it chance?

  zv eval --checkpoint runs/stage0 --suite configs/eval/quickstart.py:retrieval \\
          --workdir runs/eval_stage0
  zv eval --checkpoint runs/stage2_chat --suite configs/eval/quickstart.py:language \\
          --workdir runs/eval_chat --suite.limit=50

PATH is a workdir (its latest step) or one checkpoint. Results: DIR/results.json, DIR/items.jsonl
and DIR/samples.jsonl. Overrides may also be written --config.field=value.
"""
TAKES_CONFIG = "suite"
SUBCOMMANDS = ("", "compare")


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("checkpoint", None, "workdir or checkpoint to score", flag_values=values)
    flags.DEFINE_string("workdir", None, "folder for the results", flag_values=values)
    flags.DEFINE_boolean(
        "json", False, "compare: print JSON instead of a table", flag_values=values
    )


def run(values: flags.FlagValues, words: list[str]) -> None:
    if words:
        return _compare(values, words[1:])
    suite = required(values, "config", "configs/eval/quickstart.py:language")
    checkpoint = Path(required(values, "checkpoint", "runs/NAME"))
    workdir = Path(required(values, "workdir", "runs/eval_NAME"))
    runtime.prepare()
    from evaluation import runner

    runner.run(checkpoint, suite, workdir)


def _compare(values: flags.FlagValues, folders: list[str]) -> None:
    if len(folders) != 2:
        raise ConfigError(
            f"{len(folders)} folders to compare",
            where="zv eval compare",
            expected="two folders with results.json",
            fix="zv eval compare runs/eval_a runs/eval_b",
        )
    from evaluation import compare

    rows = compare.compare(*folders)
    print(json.dumps(rows, ensure_ascii=False, indent=1) if values.json else compare.render(rows))
