"""`zv tokenizer to-hf`: a tokenizer in the files of Hugging Face."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.tokenizer import common
from zv_jax.data.text import tokenizers
from zv_jax.files import write_atomic

USAGE = """
usage: zv tokenizer to-hf TOKENIZER OUT [--qformer]

  zv tokenizer to-hf runs/tokenizer exported
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "kind", None, "what is read: " + ", ".join(tokenizers.KINDS), flag_values=values
    )
    flags.DEFINE_bool("qformer", False, "texts become [CLS] text [SEP]", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    source, out = common.two_paths("to-hf", words)
    tokenizer = tokenizers.load(source, values.kind or "sentencepiece")
    from zv_jax.convert.tokenizer_json import hf_files

    files = hf_files(tokenizer, qformer=values.qformer)
    Path(out).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        write_atomic(Path(out) / name, text.encode())
    print(f"{out}: {', '.join(files)}")
