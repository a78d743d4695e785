"""A job for the engine, the events that answer it, and how tokens become text on the way."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.inference import answers
from zv_jax.inference.decoding import Greedy, Sample
from zv_jax.inference.prompts import Question
from zv_jax.models.prompt import PromptConfig

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Job:
    """A question to answer.

    Attributes:
        question: from `model.processor.question`, with the engine's `max_new_tokens`.
        decoding: with one answer (`n` is 1).
        max_new_tokens: at most the engine's.
        stop: words that end the answer and are not part of it.
    """

    question: Question
    decoding: Greedy | Sample
    max_new_tokens: int
    stop: tuple[str, ...] = ()


@dataclass(frozen=True)
class Piece:
    """One more token of an answer.

    Attributes:
        text: what has become final with it; never part of a character or of a stop word, so it may
            be empty or come from earlier tokens.
        ids: the token.
        logprobs: of it, by the model itself.
    """

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]


@dataclass(frozen=True)
class Ended:
    """The end of an answer: by itself or a stop word, by `max_new_tokens`, or cancelled."""

    reason: Literal["stop", "length", "cancelled"]
    tokens: int
    prompt_tokens: int


@dataclass(frozen=True)
class Failed:
    """The answer cannot be given."""

    error: Exception


Event = Piece | Ended | Failed


@dataclass(eq=False)
class Ticket:
    """A job that was submitted; `cancel` takes effect before the next step."""

    job: Job
    tell: Callable[[Event], None]
    wake: Callable[[], None]
    ids: list[int] = field(default_factory=list)
    shown: str = ""
    cancelled: threading.Event = field(default_factory=threading.Event)

    def say(self, event: Event) -> None:
        """Tells an event; a listener that fails ends its own answer and no other."""
        try:
            self.tell(event)
        except Exception:
            _log.exception("the listener of an answer failed; the answer is cancelled")
            self.cancelled.set()

    def cancel(self) -> None:
        """Ends the answer, from any thread."""
        self.cancelled.set()
        self.wake()

    def take(
        self, token: int, logprob: float, tokenizer: Tokenizer, prompt: PromptConfig
    ) -> Ended | None:
        """Tells the piece that one more token makes final; the end, once there is one."""
        self.ids.append(token)
        ids, stop = np.array(self.ids), self.job.stop
        ended = answers.ends(ids, tokenizer, prompt, stop)
        full = len(ids) >= self.job.max_new_tokens
        text = tokenizer.decode(ids)
        final = ended or full
        known = prompt.heard(text, stop) if final else answers.settled(text, prompt, stop)
        new, self.shown = known[len(self.shown) :], max(self.shown, known, key=len)
        self.say(Piece(new, (token,), (logprob,)))
        return self.end("stop" if ended else "length") if final else None

    def end(self, reason: Literal["stop", "length", "cancelled"]) -> Ended:
        """The end of the answer as it is now."""
        return Ended(reason, len(self.ids), len(self.job.question.input_ids))
