"""`zv convert from-hf`: a directory of transformers becomes a workdir of ours."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.convert import common

USAGE = """
usage: zv convert from-hf SRC DST

  zv convert from-hf Salesforce/instructblip-vicuna-7b runs/instructblip
  zv convert from-hf visual_part runs/base --llm=ziya_llama_13b
  zv convert from-hf difference runs/llama --base=llama_13b

SRC is InstructBlipForConditionalGeneration, Blip2ForConditionalGeneration,
Blip2ForImageTextRetrieval, LlamaForCausalLM, BERT or a ViT of BLIP-2 alone.
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_reading(values)
    common.define_towers(values)
    flags.DEFINE_string("base", None, "what SRC is a difference to", flag_values=values)
    flags.DEFINE_string(
        "delta_kind", None, "what a difference holds: all or layers", flag_values=values
    )


def run(values: flags.FlagValues, words: list[str]) -> None:
    src, dst = common.start("from-hf", values, words, "what to read and where to write")
    from zv_jax.convert import hf

    common.report(hf.from_hf(src, dst, common.options(values)).text(), dst)
