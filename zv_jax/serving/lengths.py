"""Texts that are certainly too long, known before they are tokenised.

A tokenizer may hold the interpreter for seconds on a text of megabytes, and `/healthz` with it.
"""

from __future__ import annotations

import functools

from zv_jax.data.text.dialogue import TooLong
from zv_jax.data.text.tokenizers import Tokenizer

_WORD = 100  # characters that BERT may make one unknown token of


@functools.lru_cache(4)
def widest(tokenizer: Tokenizer) -> int:
    """Characters of the longest piece."""
    pieces = (tokenizer.piece(i) for i in range(tokenizer.vocab_size))
    return max(_WORD, *(len(piece or "") for piece in pieces))


def check(characters: int, tokenizer: Tokenizer, tokens: int, where: str) -> None:
    """Refuses texts that have more than `tokens` tokens, however long each of these is.

    Raises:
        TooLong: naming `where`.
    """
    if characters > tokens * widest(tokenizer):
        raise too_long(f"{characters:,} characters", tokens, where)


def too_long(what: str, tokens: int, where: str) -> TooLong:
    """The error for a text longer than `tokens`."""
    return TooLong(what, where, f"at most {tokens} tokens", "send less")
