"""Answers as texts: decodes the tokens of a sequence, up to words of the caller that end it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int, Int32

from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.inference.beam import DEAD
from zv_jax.inference.program import Sequences
from zv_jax.models.prompt import PromptConfig


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        text: up to its end, or to the words that ended it.
        score: of a search: the sum of the log-probabilities over a power of the length; None for
            greedy decoding and sampling.
        ids: the tokens, with the one that ended the answer.
        logprobs: their log-probabilities by the model itself; None unless requested.
    """

    text: str
    score: float | None
    ids: Int32[np.ndarray, " T"]
    logprobs: Float32[np.ndarray, " T"] | None


def of(
    sequences: Sequences, tokenizer: Tokenizer, prompt: PromptConfig, stop: Sequence[str]
) -> Iterator[Answer]:
    """The answers of one row; the arrays of `sequences` are [n, T]."""
    for i, tokens in enumerate(np.asarray(sequences.tokens)):
        score = None if sequences.scores is None else float(sequences.scores[i])
        if score is not None and score <= DEAD / 2:  # fewer were allowed
            continue
        ended = np.flatnonzero(tokens == tokenizer.eos_id)
        size = int(ended[0]) + 1 if len(ended) else len(tokens)
        logprobs = None
        if sequences.logprobs is not None:
            logprobs = np.asarray(sequences.logprobs)[i, :size]
        text = prompt.heard(tokenizer.decode(tokens[:size]), stop)
        yield Answer(text, score, tokens[:size], logprobs)


def ends(
    tokens: Int[np.ndarray, " T"], tokenizer: Tokenizer, prompt: PromptConfig, stop: Sequence[str]
) -> bool:
    """Whether the answer ends within `tokens`."""
    if (tokens == tokenizer.eos_id).any():
        return True
    text = tokenizer.decode(tokens)
    return any(word in text for word in prompt.stops(stop))


def settled(text: str, prompt: PromptConfig, stop: Sequence[str]) -> str:
    """The beginning of an incomplete answer that no later token can change."""
    words = prompt.stops(stop)
    if any(word in text for word in words):
        return prompt.heard(text, stop)
    # A character may take several tokens.
    known = text.rstrip("\ufffd")
    # Text that could begin words that end the answer is held back.
    held = max((_begun(known, word) for word in words), default=0)
    return known[: len(known) - held].strip()


def _begun(text: str, word: str) -> int:
    """Number of characters at the end of `text` that begin `word`."""
    sizes = range(min(len(word) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(word[:size])), 0)
