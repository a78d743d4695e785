"""`zv eval`: scores of a checkpoint on a suite of tasks."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax import runtime
from zv_jax.cli.arguments import required

USAGE = """
usage: zv eval --checkpoint PATH --suite FILE[:ARG] --workdir DIR [--suite.field=value ...]

  zv eval --checkpoint runs/stage0 --suite configs/eval/quickstart.py:retrieval \\
          --workdir runs/eval_stage0
  zv eval --checkpoint runs/stage2_chat --suite configs/eval/quickstart.py:language \\
          --workdir runs/eval_chat --suite.limit=50

PATH is a workdir (its latest step) or one checkpoint. Results: DIR/results.json and
DIR/samples.jsonl. Overrides may also be written --config.field=value.
"""
TAKES_CONFIG = "suite"


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("checkpoint", None, "workdir or checkpoint to score", flag_values=values)
    flags.DEFINE_string("workdir", None, "folder for the results", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    suite = required(values, "config", "configs/eval/quickstart.py:language")
    checkpoint = Path(required(values, "checkpoint", "runs/NAME"))
    workdir = Path(required(values, "workdir", "runs/eval_NAME"))
    runtime.prepare()
    from evaluation import runner

    runner.run(checkpoint, suite, workdir)
