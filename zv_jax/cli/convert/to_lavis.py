"""`zv convert to-lavis`: a checkpoint of ours becomes a .pth file without its language model."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.convert import common

USAGE = """
usage: zv convert to-lavis CKPT OUT

  zv convert to-lavis runs/blip2 blip2.pth
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    """It has no flags."""


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint, out = common.start("to-lavis", values, words, "what to read and where to write")
    from zv_jax.convert import formats, lavis

    towers = lavis.to_lavis(formats.open_any(checkpoint), out)
    print(f"{', '.join(towers)} written: {out}")
