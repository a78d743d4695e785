"""`zv convert from-lavis`: a checkpoint file of LAVIS becomes a workdir of ours."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.convert import common

USAGE = """
usage: zv convert from-lavis SRC DST

  zv convert from-lavis blip2_pretrained.pth runs/blip2
  zv convert from-lavis instruct.pth runs/instruct --llm=vicuna-7b --vision=eva_vit_g.pth
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_reading(values)
    common.define_towers(values)
    flags.DEFINE_string("vision", None, "file of the ViT that SRC lacks", flag_values=values)
    flags.DEFINE_string("preset", None, "architecture with heads as wide", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    src, dst = common.start("from-lavis", values, words, "what to read and where to write")
    from zv_jax.convert import lavis, reader

    opening = lambda: lavis.open_lavis(src, common.options(values), values.preset)
    common.report(reader.convert(opening, src, dst).text(), dst)
