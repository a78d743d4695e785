"""`zv convert to-hf`: a checkpoint of ours becomes a directory of transformers."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.convert import common

USAGE = """
usage: zv convert to-hf CKPT OUT

  zv convert to-hf runs/stage2_chat exported --merge-lora --dtype=bfloat16
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_dtype(values)
    common.define_image_size(values)
    flags.DEFINE_boolean(
        "merge_lora", None, "add adapters to the weights, or leave them", flag_values=values
    )
    flags.DEFINE_string("max_shard_size", "5GB", "largest weight file", flag_values=values)
    flags.DEFINE_string(
        "license", "other", "of the exported weights, for the card", flag_values=values
    )
    flags.DEFINE_string("base_model", None, "what they come from, for the card", flag_values=values)
    flags.DEFINE_string(
        "results", None, "results.json of an evaluation, for the card", flag_values=values
    )


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint, out = common.start("to-hf", values, words, "what to read and where to write")
    from zv_jax.convert import export, formats

    options = export.Options(
        merge_lora=values.merge_lora,
        dtype=values.dtype,
        max_shard_size=values.max_shard_size,
        image_size=values.image_size,
        license=values.license,
        base_model=values.base_model,
        results=values.results,
    )
    written = export.to_hf(formats.open_any(checkpoint), out, options)
    print(f"written as {written.name}: {out}")
