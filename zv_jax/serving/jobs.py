"""What is asked of an engine, and what it tells while it answers."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Literal, Protocol

from zv_jax.inference.decoding import Decoding
from zv_jax.inference.prompts import Question
from zv_jax.inference.trie import Trie


@dataclass(frozen=True)
class Job:
    """One question, and how it is to be answered.

    Attributes:
        question: from `model.processor.question(...)`.
        decoding: a `Beam` may ask for several answers; several draws are several jobs, with n == 1
            and their seeds apart.
        max_new_tokens: most tokens of the answer.
        trie: the only answers allowed, which requires a `Beam`; None allows all.
        stop: words that end it and are not part of it.
        logprobs: whether pieces have them.
    """

    question: Question
    decoding: Decoding
    max_new_tokens: int
    stop: tuple[str, ...] = ()
    logprobs: bool = False
    trie: Trie | None = None


@dataclass(frozen=True)
class Piece:
    """The next part of an answer.

    Attributes:
        text: final, and never cut in a character or a stop string; may be empty.
        ids: the tokens chosen since the last piece.
        logprobs: of `ids`, by the model itself; None unless the job asked for them.
        index: of the answer, if a job has several.
        step: of training, whose weights answer; None if they were converted.
    """

    text: str
    ids: tuple[int, ...]
    logprobs: tuple[float, ...] | None
    index: int = 0
    step: int | None = None


@dataclass(frozen=True)
class Ended:
    """The last event of an answer: why it ended, and how many tokens it and its prompt have.

    Attributes:
        index: of the answer, if a job has several.
        left: answers of the job that are still to come.
    """

    reason: Literal["stop", "length", "cancelled"]
    tokens: int
    prompt_tokens: int
    index: int = 0
    left: int = 0


@dataclass(frozen=True)
class Failed:
    """The last event of a job that has no answer."""

    error: Exception


Event = Piece | Ended | Failed


class Ticket(Protocol):
    """A job that was taken."""

    def cancel(self) -> None:
        """Ends the job before the next step; harmless after its end."""


class Answering(Protocol):
    """What the server needs of an engine.

    Attributes:
        slots: jobs that are answered at once.
        running, waiting: jobs in slots, and those that have none yet.
        compiled: number of programs.
        error: what ended it; None while it works.
    """

    error: Exception | None

    @property
    def slots(self) -> int: ...

    @property
    def running(self) -> int: ...

    @property
    def waiting(self) -> int: ...

    @property
    def compiled(self) -> int: ...

    def together(self) -> AbstractContextManager[object]:
        """What is submitted in this context is answered by the same weights."""

    def submit(self, job: Job, tell: Callable[[Event], None]) -> Ticket:
        """Takes a job; `tell` is called on the engine's thread."""

    def drain(self) -> None:
        """Takes no more, and returns when all have ended."""
