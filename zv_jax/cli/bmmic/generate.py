"""`zv bmmic generate`: new pairs from views, written by a language model."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.bmmic import common

USAGE = """
usage: zv bmmic generate --config FILE --workdir DIR [--part=0/2] [--dry_run]

  zv bmmic generate --config configs/bmmic/quickstart.py --workdir runs/bmmic --dry_run
  zv bmmic generate --config configs/bmmic/paper.py --workdir runs/bmmic --part=0/4

Reads symbols/, writes generated/. The expected cost is printed before the first request;
--config.server.budget=5 stops before more than 5 dollars are spent.
"""
AFTER_INTERRUPT = "the same command continues, and pays for no reply twice"
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    common.define_asking(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    common.ask("generate", values)
