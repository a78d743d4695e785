"""Answers as texts: what the tokens of a sequence say, and where words of the caller's end it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.inference.beam import DEAD
from zv_jax.inference.program import Sequences
from zv_jax.models.prompt import PromptConfig


@dataclass(frozen=True)
class Answer:
    """One answer.

    Attributes:
        text: up to its end, or to the words that ended it.
        score: of a search: the sum of the log-probabilities over a power of the length; of a draw
            None.
        ids: int32 [T], the tokens, that which ended the answer too.
        logprobs: float32 [T], their log-probabilities by the model itself; None where nobody asked.
    """

    text: str
    score: float | None
    ids: np.ndarray
    logprobs: np.ndarray | None


def of(
    sequences: Sequences, tokenizer: Tokenizer, prompt: PromptConfig, stop: Sequence[str]
) -> Iterator[Answer]:
    """The answers of one row, whose arrays are [n, T]."""
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
    tokens: np.ndarray, tokenizer: Tokenizer, prompt: PromptConfig, stop: Sequence[str]
) -> bool:
    """Whether nothing that follows int [T] can be part of the answer."""
    if (tokens == tokenizer.eos_id).any():
        return True
    text = tokenizer.decode(tokens)
    return any(word in text for word in prompt.stops(stop))


def settled(text: str, prompt: PromptConfig, stop: Sequence[str]) -> str:
    """The beginning of an answer, given as far as it is known, that no later token changes."""
    words = prompt.stops(stop)
    if any(word in text for word in words):
        return prompt.heard(text, stop)
    # A character may take several tokens.
    known = text.rstrip("\ufffd")
    # What may turn out to be the beginning of words that end the answer is held back.
    held = max((_begun(known, word) for word in words), default=0)
    return known[: len(known) - held].strip()


def _begun(text: str, word: str) -> int:
    """How many characters at the end of `text` begin `word`."""
    sizes = range(min(len(word) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(word[:size])), 0)
