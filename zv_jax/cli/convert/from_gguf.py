"""`zv convert from-gguf`: a LLaMA in the format of llama.cpp becomes a workdir of ours."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.convert import common

USAGE = """
usage: zv convert from-gguf SRC DST

  zv convert from-gguf llama-7b-q4_0.gguf runs/llama --dtype=bfloat16
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_reading(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    src, dst = common.start("from-gguf", values, words, "what to read and where to write")
    from zv_jax.convert import gguf, reader

    opening = lambda: gguf.open_gguf(src, common.options(values))
    common.report(reader.convert(opening, src, dst).text(), dst)
