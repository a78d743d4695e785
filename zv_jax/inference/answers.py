"""Answers as texts: decodes the tokens of a sequence, up to words of the caller that end it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32

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


class Growing:
    """An answer as its tokens come, and how much of its text is final.

    Args:
        stop: words of the caller that end it, beside those of the prompt format.

    Attributes:
        ids: the tokens so far.
        text: what is final; never part of a character or of a word that ends the answer.
        ended: whether a token or a word has ended it.
    """

    def __init__(self, tokenizer: Tokenizer, prompt: PromptConfig, stop: Sequence[str]):
        self._tokenizer, self._prompt, self._stop = tokenizer, prompt, stop
        self.ids: list[int] = []
        self._decoded = ""
        self.text, self.ended = "", False

    def add(self, token: int) -> str:
        """What becomes final with one more token; it may be empty, or come from earlier ones."""
        self.ids.append(token)
        self._decoded = self._tokenizer.decode(np.array(self.ids))
        stopped = self._prompt.stopped(self._decoded, self._stop)
        self.ended = token == self._tokenizer.eos_id or stopped
        if self.ended:
            return self.finish()
        return self._more(settled(self._decoded, self._prompt, self._stop))

    def finish(self) -> str:
        """The rest of the text, when no further token comes."""
        return self._more(self._prompt.heard(self._decoded, self._stop))

    def _more(self, known: str) -> str:
        new = known[len(self.text) :]
        self.text += new
        return new


def settled(text: str, prompt: PromptConfig, stop: Sequence[str]) -> str:
    """The beginning of an incomplete answer that no later token can change."""
    if prompt.stopped(text, stop):
        return prompt.heard(text, stop)
    # A character may take several tokens.
    known = text.rstrip("\ufffd")
    # Text that could begin words that end the answer is held back.
    held = max((_begun(known, word) for word in prompt.stops(stop)), default=0)
    return known[: len(known) - held].strip()


def _begun(text: str, word: str) -> int:
    """Number of characters at the end of `text` that begin `word`."""
    sizes = range(min(len(word) - 1, len(text)), 0, -1)
    return next((size for size in sizes if text.endswith(word[:size])), 0)
