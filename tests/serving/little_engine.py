"""A small engine with the interface of the real one: a thread for each slot, around `Model.stream`.

It computes real answers of real models; what it lacks is speed.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from zv_jax.inference.answers import Growing
from zv_jax.inference.model import Model
from zv_jax.serving.jobs import Ended, Event, Failed, Job, Piece


@dataclass(eq=False)
class Ticket:
    job: Job
    tell: Callable[[Event], None]
    cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        self.cancelled.set()


class LittleEngine:
    """`with LittleEngine(model) as engine`. While `open` is not set, no step is taken."""

    compiled = 0
    error = None

    def __init__(self, model: Model, *, slots: int = 2, max_new_tokens: int = 32):
        self.model, self.slots = model, slots
        self.running = 0
        self.open = threading.Event()
        self.open.set()
        self.ended: list[Ended] = []
        self._jobs: queue.Queue[Ticket | None] = queue.Queue()
        self._lock = threading.Lock()
        self._threads = [threading.Thread(target=self._work) for _ in range(slots)]

    @property
    def waiting(self) -> int:
        return self._jobs.qsize()

    def __enter__(self) -> LittleEngine:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.open.set()
        self.drain()

    def together(self):
        return contextlib.nullcontext()

    def submit(self, job: Job, tell: Callable[[Event], None]) -> Ticket:
        ticket = Ticket(job, tell)
        self._jobs.put(ticket)
        return ticket

    def drain(self) -> None:
        for _ in self._threads:
            self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        while ticket := self._jobs.get():
            with self._lock:
                self.running += 1
            try:
                end: Ended | Failed = self._answer(ticket)
                self.ended.append(end)
            except Exception as error:
                end = Failed(error)
            with self._lock:
                self.running -= 1
            ticket.tell(end)

    def _answer(self, ticket: Ticket) -> Ended:
        job, model = ticket.job, self.model
        tokenizer, prompt = model.tokenizer, model.config.model.prompt
        inputs = model.processor.collate([job.question], max_new_tokens=job.max_new_tokens)
        logprobs = None
        if job.logprobs:
            found = model.sequences(inputs, job.decoding, max_new_tokens=job.max_new_tokens)
            logprobs = found.logprobs[0, 0]
        answer = Growing(tokenizer, prompt, job.stop)
        reason = "length"
        columns = model.stream(inputs, job.decoding, max_new_tokens=job.max_new_tokens)
        while reason == "length":
            while not self.open.wait(0.01) and not ticket.cancelled.is_set():
                pass
            if ticket.cancelled.is_set():
                reason = "cancelled"
                break
            column = next(columns, None)
            if column is None:
                break
            new = answer.add(int(column[0]))
            place = len(answer.ids) - 1
            if place + 1 == job.max_new_tokens:
                new += answer.finish()
            if answer.ended:
                reason = "stop"
            score = None if logprobs is None else (float(logprobs[place]),)
            ticket.tell(Piece(new, (answer.ids[-1],), score))
        return Ended(reason, len(answer.ids), len(job.question.input_ids))
