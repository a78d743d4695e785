"""Tokens with their log-probabilities, as OpenAI lists them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.serving.jobs import Piece


def spelled(piece: Piece, tokenizer: Tokenizer) -> Iterator[dict[str, Any]]:
    """The entries of a piece that has log-probabilities; `</s>` and padding, no text, have none.

    `bytes` are exact where a character has several tokens; `token` shows these with U+FFFD.
    """
    ends = {tokenizer.eos_id, tokenizer.pad_id}
    if piece.logprobs is None:
        return
    for token, logprob in zip(piece.ids, piece.logprobs, strict=True):
        if token not in ends:
            data = tokenizer.spelling(token)
            yield {
                "token": data.decode("utf-8", "replace"),
                "logprob": logprob,
                "bytes": list(data),
                "top_logprobs": [],
            }
