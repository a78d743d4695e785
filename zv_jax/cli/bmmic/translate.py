"""`zv bmmic translate`: records of other sets into the other language."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.bmmic import common

USAGE = """
usage: zv bmmic translate --config FILE --workdir DIR [--part=0/2] [--dry_run]

  zv bmmic translate --config configs/bmmic/translate.py:vqav2 --workdir runs/vqav2_t

Writes translated/: questions, answers and dialogues with their images, boxes and numbers.
"""
AFTER_INTERRUPT = "the same command continues, and pays for no reply twice"
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    common.define_asking(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    common.ask("translate", values)
