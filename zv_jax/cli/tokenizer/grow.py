"""`zv tokenizer grow`: a checkpoint with embeddings for larger vocabularies."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.tokenizer import common
from zv_jax.data.text import tokenizers
from zv_jax.errors import ConfigError

USAGE = """
usage: zv tokenizer grow CKPT OUT [--tokenizer=DIR] [--qformer_tokenizer=DIR]

  zv tokenizer grow runs/llama runs/llama_zh --tokenizer=runs/tokenizer
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    for name, tower in (("tokenizer", "LLM"), ("qformer_tokenizer", "Q-Former")):
        flags.DEFINE_string(name, None, f"new vocabulary of the {tower}", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    checkpoint, out = common.two_paths("grow", words)
    paths = (values.tokenizer, values.qformer_tokenizer)
    if not any(paths):
        raise ConfigError(
            "zv tokenizer grow needs a new vocabulary",
            where="zv tokenizer grow",
            expected="--tokenizer=DIR or --qformer_tokenizer=DIR, or both",
            fix="make one with zv tokenizer extend or union",
        )
    from zv_jax.convert import formats
    from zv_jax.convert.grow import grow

    new = (tokenizers.load(path) if path else None for path in paths)
    model = grow(formats.open_any(checkpoint), out, *new).model
    print(
        f"{out}: {model.llm.vocab_size:,} rows in the LLM, image placeholder "
        f"{model.image_token_id}; {model.qformer.vocab_size:,} rows in the Q-Former"
    )
