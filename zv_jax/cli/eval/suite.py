"""`zv eval` without a subcommand: the scores of a checkpoint on a suite of tasks."""

from __future__ import annotations

import sys

from absl import flags

from zv_jax.buckets import place
from zv_jax.cli.arguments import required
from zv_jax.cli.eval import USAGE
from zv_jax.errors import ConfigError
from zv_jax.parallel import runtime

__all__ = ["TAKES_CONFIG", "USAGE", "define", "run"]

TAKES_CONFIG = "suite"
AFTER_INTERRUPT = "the same command continues behind the answers it has"


def define(values: flags.FlagValues) -> None:
    text = flags.DEFINE_string
    text("checkpoint", None, "workdir or checkpoint to score", flag_values=values)
    text("best", "", "take the checkpoint best by this metric of eval events", flag_values=values)
    text("workdir", None, "folder for the results", flag_values=values)
    text(
        "shard",
        "0/1",
        "number/count of this process of several",
        flag_values=values,
    )


def run(values: flags.FlagValues, words: list[str]) -> None:
    suite = required(values, "config", "configs/eval/quickstart.py:language", flag="suite")
    checkpoint = place(required(values, "checkpoint", "runs/NAME"))
    workdir = place(required(values, "workdir", "runs/eval_NAME", bucket=True))
    shard = _shard(values.shard)
    runtime.prepare()
    if values.best:
        from zv_jax.evaluation.in_training import best_checkpoint

        checkpoint = best_checkpoint(checkpoint, values.best)
    from zv_jax.evaluation import run as run_lib

    if run_lib.run(checkpoint, suite, workdir, shard=shard) is None:
        print(
            f"shard {values.shard} is answered; when all are, the same command scores them",
            file=sys.stderr,
        )


def _shard(text: str) -> tuple[int, int]:
    number, _, count = text.partition("/")
    if number.isdecimal() and count.isdecimal() and int(number) < int(count):
        return int(number), int(count)
    raise ConfigError(
        f"no part of the work: {text!r}",
        where="--shard",
        expected="number/count, such as 0/2 and 1/2 for two processes",
    )
