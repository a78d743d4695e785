"""`zv convert from-peft`: an adapter of PEFT, on its base, becomes a workdir of ours."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.cli.convert import common

USAGE = """
usage: zv convert from-peft SRC DST --base=CKPT

  zv convert from-peft adapter runs/adapted --base=runs/instructblip
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("base", None, "what SRC is an adapter to", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    src, dst = common.start("from-peft", values, words, "what to read and where to write")
    from zv_jax.convert import formats, peft

    base = required(values, "base", "exported")
    layers = peft.from_peft(src, formats.open_any(base), dst)
    print(f"{layers} layers adapted, written: {dst}")
