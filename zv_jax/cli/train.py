"""`zv train`: one stage of training."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax import runtime
from zv_jax.cli.arguments import required

USAGE = """
usage: zv train --config FILE[:ARG] --workdir DIR [--config.section.field=value ...]

  zv train --config configs/quickstart.py:stage0 --workdir runs/stage0
  zv train --config configs/stage1.py:chat --workdir runs/s1 --config.optimizer.lr=2e-5

The same workdir resumes; a finished run returns at once. Every field of a recipe can be
overridden; `zv config show --config FILE` lists them. A run whose configuration or data changed
does not resume, unless the change is named:

  zv train ... --config.optimizer.lr=1e-5 --allow_change=optimizer.lr
"""
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "workdir", None, "folder of this run: checkpoints, metrics, log", flag_values=values
    )
    flags.DEFINE_list(
        "allow_change", [], "fields that may differ from the checkpoint", flag_values=values
    )


def run(values: flags.FlagValues, words: list[str]) -> None:
    from zv_jax.config import validate

    config = validate(required(values, "config", "configs/quickstart.py:stage0"))
    workdir = Path(required(values, "workdir", "runs/NAME"))
    runtime.prepare()
    from zv_jax.training import loop

    evaluate = None
    if config.eval.every > 0:
        from evaluation.in_training import Evaluation

        evaluate = Evaluation(config)
    loop.run(config, workdir, values.allow_change, evaluate)
