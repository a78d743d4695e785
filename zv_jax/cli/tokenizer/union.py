"""`zv tokenizer union`: a BERT vocabulary with Chinese, for the Q-Former."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.tokenizer import common
from zv_jax.data.text import chinese_pieces, tokenizers

USAGE = """
usage: zv tokenizer union VOCAB OUT [--characters=...]

  zv tokenizer union bert-base-uncased/vocab.txt runs/qformer_tokenizer

gb2312 has 6,763 simplified characters, big5 the 5,401 frequent traditional ones; of a text file
every Chinese character is taken. Pieces keep their ids and new ones follow, so that embeddings of
the old model keep their rows.
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_characters(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    source, out = common.two_paths("union", words)
    added = common.characters(values)
    old = tokenizers.load(source, "bert")
    common.save(old, chinese_pieces.union(old.data, added), out)
