"""`zv bmmic rewrite`: other forms of generated pairs, by the paper's four schemes."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.bmmic import common

USAGE = """
usage: zv bmmic rewrite --config FILE --workdir DIR [--part=0/2] [--dry_run]

  zv bmmic rewrite --config configs/bmmic/quickstart.py --workdir runs/bmmic

Reads generated/, writes rewritten/: at most one rewriting of a pair, of a share of them, and none
of pairs that the filters would drop.
"""
AFTER_INTERRUPT = "the same command continues, and pays for no reply twice"
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    common.define_asking(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    common.ask("rewrite", values)
