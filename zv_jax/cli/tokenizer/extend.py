"""`zv tokenizer extend`: a SentencePiece model of LLaMA with Chinese, for the language model."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.arguments import existing_file
from zv_jax.cli.tokenizer import common
from zv_jax.data.text import chinese_pieces, tokenizers

USAGE = """
usage: zv tokenizer extend MODEL OUT [--characters=...] [--pieces=FILE]

  zv tokenizer extend llama/tokenizer.model runs/tokenizer --characters=gb2312,big5

gb2312 has 6,763 simplified characters, big5 the 5,401 frequent traditional ones; of a text file
every Chinese character is taken. Pieces keep their ids and new ones follow, so that embeddings of
the old model keep their rows.
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_characters(values)
    flags.DEFINE_string(
        "pieces", None, "file with further pieces to add, one per line", flag_values=values
    )


def run(values: flags.FlagValues, words: list[str]) -> None:
    source, out = common.two_paths("extend", words)
    added = common.characters(values)
    old = tokenizers.load(source, "sentencepiece")
    added += _lines(values.pieces)
    common.save(old, chinese_pieces.extend(old.data, added, old.where), out)


def _lines(path: str | None) -> list[str]:
    if not path:
        return []
    return existing_file(path, "list of pieces").read_text("utf-8").split()
