"""A job while the engine answers it: its tokens become text on the way to the listener."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from zv_jax.inference.answers import Growing
from zv_jax.serving.jobs import Ended, Event, Job, Piece

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Reply:
    """A job that was submitted, and its answer so far.

    Attributes:
        number: of jobs before it.
        step: of training, whose weights answer; known once its prompt is read.
    """

    job: Job
    tell: Callable[[Event], None]
    wake: Callable[[], None]
    answer: Growing
    number: int
    step: int | None = None
    cancelled: threading.Event = field(default_factory=threading.Event)

    def say(self, event: Event) -> None:
        """Tells an event; a listener that fails ends its own answer and no other."""
        try:
            self.tell(event)
        except Exception:
            _log.exception("the listener of an answer failed; the answer is cancelled")
            self.cancelled.set()

    def cancel(self) -> None:
        """Ends the answer before the next step, from any thread; harmless after its end."""
        self.cancelled.set()
        self.wake()

    def take(self, token: int, logprob: float) -> Ended | None:
        """Tells the piece that one more token makes final; the end, once there is one."""
        new = self.answer.add(token)
        full = len(self.answer.ids) >= self.job.max_new_tokens
        if full:
            new += self.answer.finish()
        logprobs = (logprob,) if self.job.logprobs else None
        self.say(Piece(new, (token,), logprobs, step=self.step))
        if not self.answer.ended and not full:
            return None
        return self.end("stop" if self.answer.ended else "length")

    def end(self, reason: Literal["stop", "length", "cancelled"]) -> Ended:
        """The end of the answer as it is now."""
        return Ended(reason, len(self.answer.ids), len(self.job.question.input_ids))
