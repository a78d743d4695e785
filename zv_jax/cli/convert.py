"""`zv convert`: weights of others in, weights for others out, and a comparison of both."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.errors import ConfigError
from zv_jax.parallel import runtime

if TYPE_CHECKING:
    from zv_jax.convert import hf

USAGE = """
usage: zv convert from-hf    SRC DST    a directory of transformers becomes a workdir of ours
       zv convert from-lavis SRC DST    a checkpoint file of LAVIS becomes one
       zv convert from-gguf  SRC DST    a LLaMA in the format of llama.cpp becomes one
       zv convert from-peft  SRC DST    an adapter on --base becomes one
       zv convert to-hf      CKPT OUT   a checkpoint of ours becomes a directory of transformers
       zv convert to-lavis   CKPT OUT   or a .pth file without its language model
       zv convert to-peft    CKPT OUT   its adapters alone, as PEFT stores them
       zv convert verify     A B        do two checkpoints, each in any form, compute the same?

  zv convert from-hf Salesforce/instructblip-vicuna-7b runs/instructblip
  zv convert from-hf visual_part runs/base --llm=ziya_llama_13b
  zv convert from-hf difference runs/llama --base=llama_13b
  zv convert from-lavis blip2_pretrained.pth runs/blip2
  zv convert from-lavis instruct.pth runs/instruct --llm=vicuna-7b --vision=eva_vit_g.pth
  zv convert to-hf runs/stage2_chat exported --merge-lora --dtype=bfloat16
  zv convert verify runs/stage2_chat exported

SRC of from-hf is InstructBlipForConditionalGeneration, Blip2ForConditionalGeneration,
Blip2ForImageTextRetrieval, LlamaForCausalLM, BERT or a ViT of BLIP-2 alone.
"""
SUBCOMMANDS = (
    "from-hf",
    "from-lavis",
    "from-gguf",
    "from-peft",
    "to-hf",
    "to-lavis",
    "to-peft",
    "verify",
)


_READ_FORMATS = ("from-hf", "from-lavis", "from-gguf")  # that know --prompt_format


def define(values: flags.FlagValues) -> None:
    text, number, boolean = flags.DEFINE_string, flags.DEFINE_integer, flags.DEFINE_boolean
    text("dtype", None, "of all tensors: float32, bfloat16 or float16", flag_values=values)
    number("image_size", None, "resize the position table, pixels", 1, flag_values=values)
    flags.DEFINE_multi_string(
        "allow", [], "pattern of tensors that may be missing or too many", flag_values=values
    )
    text("llm", None, "directory of the language model of a split SRC", flag_values=values)
    text("vision", None, "file of the ViT that SRC lacks (from-lavis)", flag_values=values)
    text("base", None, "what SRC is a difference or an adapter to", flag_values=values)
    text("delta_kind", None, "what a difference holds: all or layers", flag_values=values)
    text("preset", None, "architecture with heads as wide (from-lavis)", flag_values=values)
    text("tokenizer", None, "where SRC has none: file or directory", flag_values=values)
    text("qformer_tokenizer", None, "the same for the Q-Former", flag_values=values)
    text("prompt_format", None, "of SRC: ziya, vicuna, llama2 or plain", flag_values=values)
    boolean("merge_lora", None, "add adapters to the weights, or leave them", flag_values=values)
    text("max_shard_size", "5GB", "largest weight file", flag_values=values)
    text("license", "other", "of the exported weights, for the card", flag_values=values)
    text("base_model", None, "what they come from, for the card", flag_values=values)
    text("results", None, "results.json of an evaluation, for the card", flag_values=values)
    flags.DEFINE_float("tolerance", 1e-4, "largest difference (verify)", 0.0, flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    command = words[0]
    if len(words) != 3:
        raise ConfigError(
            f"zv convert {command} needs two paths, not {len(words) - 1}",
            where=" ".join(["zv convert", *words]),
            expected="what to read and where to write (verify: two checkpoints)",
            fix="zv convert --help",
        )
    _check_dtype(values.dtype)
    _check_prompt_format(values.prompt_format, command)
    runtime.prepare()
    steps = {
        "from-hf": _from_hf,
        "from-lavis": _from_lavis,
        "from-gguf": _from_gguf,
        "from-peft": _from_peft,
        "to-hf": _to_hf,
        "to-lavis": _to_lavis,
        "to-peft": _to_peft,
        "verify": _verify,
    }
    steps[command](values, *words[1:])


def _check_dtype(dtype: str | None) -> None:
    from zv_jax.models.presets import DTYPES

    if dtype is not None and dtype not in DTYPES:
        raise ConfigError(
            f"unknown dtype {dtype!r}", where="--dtype", expected="one of " + ", ".join(DTYPES)
        )


def _check_prompt_format(name: str | None, command: str) -> None:
    if name is not None and command not in _READ_FORMATS:
        raise ConfigError(
            f"zv convert {command} takes no format: the checkpoint says how it is asked",
            where="--prompt_format",
            expected="one of " + ", ".join(_READ_FORMATS),
            fix="leave it out",
        )


def _options(values: flags.FlagValues) -> hf.Options:
    from zv_jax.convert import hf

    return hf.Options(
        allow=tuple(values.allow),
        dtype=values.dtype,
        image_size=values.image_size,
        llm=values.llm,
        vision=values.vision,
        base=values.base,
        delta_kind=values.delta_kind,
        tokenizer=values.tokenizer,
        qformer_tokenizer=values.qformer_tokenizer,
        prompt_format=values.prompt_format,
    )


def _from_hf(values: flags.FlagValues, src: str, dst: str) -> None:
    from zv_jax.convert import hf

    print(hf.from_hf(src, dst, _options(values)).text())
    print(f"written: {dst}")


def _from_lavis(values: flags.FlagValues, src: str, dst: str) -> None:
    from zv_jax.convert import hf, lavis

    opening = lambda: lavis.open_lavis(src, _options(values), values.preset)
    print(hf.convert(opening, src, dst).text())
    print(f"written: {dst}")


def _from_gguf(values: flags.FlagValues, src: str, dst: str) -> None:
    from zv_jax.convert import gguf, hf

    print(hf.convert(lambda: gguf.open_gguf(src, _options(values)), src, dst).text())
    print(f"written: {dst}")


def _from_peft(values: flags.FlagValues, src: str, dst: str) -> None:
    from zv_jax.convert import formats, peft

    base = required(values, "base", "exported")
    layers = peft.from_peft(src, formats.open_any(base), dst)
    print(f"{layers} layers adapted, written: {dst}")


def _to_hf(values: flags.FlagValues, checkpoint: str, out: str) -> None:
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


def _to_lavis(values: flags.FlagValues, checkpoint: str, out: str) -> None:
    from zv_jax.convert import formats, lavis

    towers = lavis.to_lavis(formats.open_any(checkpoint), out)
    print(f"{', '.join(towers)} written: {out}")


def _to_peft(values: flags.FlagValues, checkpoint: str, out: str) -> None:
    from zv_jax.convert import formats, peft

    layers = peft.to_peft(formats.open_any(checkpoint), out, values.base or "")
    print(f"adapters of {layers} layers written: {out}")


def _verify(values: flags.FlagValues, a: str, b: str) -> None:
    from zv_jax.inference import verify

    print(verify.check(a, b, values.tolerance, values.dtype or "float32"))
