"""`zv convert verify`: do two checkpoints, each in any form, compute the same?"""

from __future__ import annotations

from absl import flags

from zv_jax.cli.convert import common

USAGE = """
usage: zv convert verify A B

  zv convert verify runs/stage2_chat exported
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_dtype(values)
    flags.DEFINE_float("tolerance", 1e-4, "largest difference", 0.0, flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    first, second = common.start("verify", values, words, "two checkpoints")
    from zv_jax.inference import verify

    print(verify.check(first, second, values.tolerance, values.dtype or "float32"))
