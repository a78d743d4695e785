"""`zv convert to-peft`: the adapters of a checkpoint alone, as PEFT stores them."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.convert import common

USAGE = """
usage: zv convert to-peft CKPT OUT [--base=PATH]

  zv convert to-peft runs/stage2_chat adapter --base=exported
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("base", None, "what the adapters are for", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint, out = common.start("to-peft", values, words, "what to read and where to write")
    from zv_jax.convert import formats, peft

    layers = peft.to_peft(formats.open_any(checkpoint), out, values.base or "")
    print(f"adapters of {layers} layers written: {out}")
