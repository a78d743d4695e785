"""`zv bmmic run`: every step of a recipe, one after the other."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.bmmic import common

USAGE = """
usage: zv bmmic run --config FILE --workdir DIR

  zv bmmic run --config configs/bmmic/quickstart.py --workdir runs/bmmic
  zv bmmic run --config configs/bmmic/translate.py:gqa --workdir runs/gqa_t --config.seed=1

The same command goes on where it was: shards that are there are kept, replies come from the ledger.
"""
AFTER_INTERRUPT = "the same command continues, and pays for no reply twice"
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    common.define(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    config, workdir = common.setting(values)
    from zv_jax.bmmic import run as run_lib

    for path in run_lib.run(config, workdir):
        print(path)
