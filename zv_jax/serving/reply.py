"""A job while the engine answers it: its tokens become text on the way to the listener."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.inference import answers
from zv_jax.models.prompt import PromptConfig
from zv_jax.serving.jobs import Ended, Event, Job, Piece

_log = logging.getLogger(__name__)


@dataclass(eq=False)
class Reply:
    """A job that was submitted, with the tokens and the text so far."""

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
        """Ends the answer before the next step, from any thread; harmless after its end."""
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
        self.say(Piece(new, (token,), (logprob,) if self.job.logprobs else None))
        return self.end("stop" if ended else "length") if final else None

    def end(self, reason: Literal["stop", "length", "cancelled"]) -> Ended:
        """The end of the answer as it is now."""
        return Ended(reason, len(self.ids), len(self.job.question.input_ids))
