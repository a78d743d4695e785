"""What several subcommands of `zv tokenizer` share."""

from __future__ import annotations

from absl import flags

from zv_jax.data.text import chinese_pieces
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConfigError


def define_characters(values: flags.FlagValues) -> None:
    """The flag --characters."""
    flags.DEFINE_list(
        "characters", "gb2312", "to add: gb2312, big5 or text files", flag_values=values
    )


def characters(values: flags.FlagValues) -> list[str]:
    """The characters to add."""
    return [c for name in values.characters for c in chinese_pieces.characters(name)]


def two_paths(command: str, words: list[str]) -> tuple[str, str]:
    """What to read and where to write; `ConfigError` for more or fewer words."""
    if len(words) != 2:
        raise ConfigError(
            f"zv tokenizer {command} needs what to read and where to write",
            where=" ".join(["zv tokenizer", command, *words]),
            expected="two paths",
            fix=f"zv tokenizer {command} --help",
        )
    source, out = words
    return source, out


def save(old: Tokenizer, data: bytes, out: str) -> None:
    """Writes the larger vocabulary and says how much larger it is."""
    new = Tokenizer(old.kind, data, out, old.lowercase)
    new.save(out)
    print(f"{out}: {new.vocab_size:,} ids, {new.vocab_size - old.vocab_size:,} of them new")
