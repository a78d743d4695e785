"""`zv tokenizer`: vocabularies with more Chinese, and tokenizers in the files of Hugging Face."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import existing_file
from zv_jax.data.text import chinese_pieces, tokenizers
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConfigError

USAGE = """
usage: zv tokenizer union  VOCAB OUT  [--characters=...]   a BERT vocabulary for the Q-Former
       zv tokenizer extend MODEL OUT  [--characters=...] [--pieces=FILE]
                                                           a LLaMA SentencePiece model for the LLM
       zv tokenizer grow   CKPT  OUT  [--tokenizer=DIR] [--qformer_tokenizer=DIR]
                                                           embeddings for larger vocabularies
       zv tokenizer to-hf  TOKENIZER OUT [--qformer]       tokenizer.json, tokenizer_config.json

  zv tokenizer union bert-base-uncased/vocab.txt runs/qformer_tokenizer
  zv tokenizer extend llama/tokenizer.model runs/tokenizer --characters=gb2312,big5
  zv tokenizer grow runs/llama runs/llama_zh --tokenizer=runs/tokenizer
  zv tokenizer to-hf runs/tokenizer exported

gb2312 has 6,763 simplified characters, big5 the 5,401 frequent traditional ones; of a text file
every Chinese character is taken. Pieces keep their ids and new ones follow, so that embeddings of
the old model keep their rows.
"""
SUBCOMMANDS = ("union", "extend", "grow", "to-hf")


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_list(
        "characters",
        "gb2312",
        "to add: gb2312, big5 or text files",
        flag_values=values,
    )
    flags.DEFINE_string(
        "pieces", None, "file with further pieces to add, one per line", flag_values=values
    )
    flags.DEFINE_string(
        "kind",
        None,
        "what to-hf reads: " + ", ".join(tokenizers.KINDS),
        flag_values=values,
    )
    for name, tower in (("tokenizer", "LLM"), ("qformer_tokenizer", "Q-Former")):
        flags.DEFINE_string(name, None, f"new vocabulary of the {tower} (grow)", flag_values=values)
    flags.DEFINE_bool("qformer", False, "texts become [CLS] text [SEP] (to-hf)", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    command = words[0]
    if len(words) != 3:
        raise ConfigError(
            f"zv tokenizer {command} needs what to read and where to write",
            where=" ".join(["zv tokenizer", *words]),
            expected="two paths",
            fix="zv tokenizer --help",
        )
    source, out = words[1:]
    if command == "to-hf":
        _to_hf(tokenizers.load(source, values.kind or "sentencepiece"), out, values.qformer)
        return
    if command == "grow":
        _grow(source, out, values.tokenizer, values.qformer_tokenizer)
        return
    wanted = [c for name in values.characters for c in chinese_pieces.characters(name)]
    if command == "union":
        old = tokenizers.load(source, "bert")
        data = chinese_pieces.union(old.data, wanted)
    else:
        old = tokenizers.load(source, "sentencepiece")
        data = chinese_pieces.extend(old.data, [*wanted, *_lines(values.pieces)], old.where)
    new = Tokenizer(old.kind, data, out, old.lowercase)
    new.save(out)
    print(f"{out}: {new.vocab_size:,} ids, {new.vocab_size - old.vocab_size:,} of them new")


def _lines(path: str | None) -> list[str]:
    if not path:
        return []
    return existing_file(path, "list of pieces").read_text("utf-8").split()


def _grow(checkpoint: str, out: str, own: str | None, qformer: str | None) -> None:
    if not own and not qformer:
        raise ConfigError(
            "zv tokenizer grow needs a new vocabulary",
            where="zv tokenizer grow",
            expected="--tokenizer=DIR or --qformer_tokenizer=DIR, or both",
            fix="make one with zv tokenizer extend or union",
        )
    from zv_jax.convert import formats
    from zv_jax.convert.grow import grow

    new = (tokenizers.load(path) if path else None for path in (own, qformer))
    model = grow(formats.open_any(checkpoint), out, *new).model
    print(
        f"{out}: {model.llm.vocab_size:,} rows in the LLM, image placeholder "
        f"{model.image_token_id}; {model.qformer.vocab_size:,} rows in the Q-Former"
    )


def _to_hf(tokenizer: Tokenizer, out: str, qformer: bool) -> None:
    from zv_jax.convert.tokenizer_json import hf_files

    files = hf_files(tokenizer, qformer=qformer)
    Path(out).mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        tokenizers.write_atomic(Path(out) / name, text.encode())
    print(f"{out}: {', '.join(files)}")
