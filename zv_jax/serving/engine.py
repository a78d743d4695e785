"""The engine: one thread that answers many questions at once, each in a slot of its own.

Questions join and leave between steps. All memory is allocated and all programs are compiled before
the engine is ready: one to encode an image, one for its visual tokens, one for each length of
prompts, one to put a prompt into a slot, one for a step of all slots, and two for each kind of
search.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Any, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from zv_jax.data.text import dialogue
from zv_jax.errors import ConfigError, DataError
from zv_jax.inference.answers import Growing
from zv_jax.inference.decoding import Beam, Greedy, Sample
from zv_jax.inference.model import Model
from zv_jax.inference.program import cache_sharding, compiled
from zv_jax.inference.prompts import Question, existing
from zv_jax.inference.seen import VisualTokens
from zv_jax.models.axes import on_mesh
from zv_jax.serving import slots as slots_lib
from zv_jax.serving.jobs import Event, Failed, Job
from zv_jax.serving.reply import Reply
from zv_jax.serving.searches import Searches
from zv_jax.serving.slots import Fixed, Prompt, Slots

_log = logging.getLogger(__name__)
_SHORTEST, _APART = 64, 4  # the lengths of prompts: 64, 256, 1024, ..., and the longest


class _Offer(NamedTuple):
    """A model for the jobs from number `before` on."""

    model: Model
    taken: Callable[[], None]
    before: int


class Engine:
    """Answers jobs with a model of stage 1 or 2, or a language model alone.

        with Engine(model, slots=8) as engine:
            engine.submit(Job(question, Greedy(), 64), print)

    Args:
        model: loaded, on one host.
        slots: answers at a time; rounded up to a multiple of the devices that share rows.
        max_new_tokens: of the longest answer; the prompts have the rest of the model's positions.
        kept_images: images whose features are kept.
        beams: the numbers of beams that jobs may ask for.

    Attributes:
        running, waiting: numbers of jobs.
        compiled: number of programs; it does not change once the engine is ready.
        error: what ended it; None while it works. Leaving the engine raises it.
    """

    def __init__(
        self, model: Model, *, slots: int = 8, max_new_tokens: int = 256, kept_images: int = 64,
        beams: Sequence[int] = (),
    ):  # fmt: skip
        if slots < 1:
            raise ConfigError(f"{slots} slots", "slots", "at least 1", "leave it out for 8")
        self.model, self.max_new_tokens = model, max_new_tokens
        self._rows = model.rows
        self.slots = -(-slots // self._rows) * self._rows
        self.longest = model.processor.longest_prompt(max_new_tokens)
        self._sees = model.sees
        self.compiled = 0
        self._looks = VisualTokens(model, kept_images, self._compile)
        self.features, self.tokens = self._looks.features, self._looks.tokens
        self._waiting: deque[tuple[Reply, np.ndarray]] = deque()
        self._held: list[Reply | None] = [None] * self.slots
        self._searches = Searches(model, beams, max_new_tokens)
        self._for_search: deque[tuple[Reply, np.ndarray]] = deque()
        self._change = threading.Condition()
        self._ready, self._idle = threading.Event(), threading.Event()
        self._draining = self._closing = False
        self._taken = 0
        self._offered: _Offer | None = None
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def running(self) -> int:
        return sum(reply is not None for reply in (*self._held, self._searches.reply))

    @property
    def waiting(self) -> int:
        return len(self._waiting) + len(self._for_search)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        if self.error is not None:
            raise self.error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._change:
            self._draining = self._closing = True
            self._change.notify_all()
        self._thread.join()
        if self.error is not None and error is None:
            raise self.error  # who ends a failed engine must not believe that all went well

    def submit(self, job: Job, tell: Callable[[Event], None]) -> Reply:
        """Queues a job, and decodes its images, in the thread of the caller.

        Args:
            tell: called on the engine's thread, with one `Piece` for each token, or for each
                answer of a search, and then `Ended`, or with `Failed`; it must not block.

        Raises:
            DataError: an image cannot be read, or the prompt is too long.
            ConfigError: more new tokens than the engine has room for, several answers, or the
                engine takes no more.
        """
        self._check(job)
        pixels = self.model.processor.images(job.question.images)
        tokenizer = existing(self.model.tokenizer, "answers")
        answer = Growing(tokenizer, self.model.config.model.prompt, job.stop)
        with self._change:
            if self._draining:
                raise ConfigError(
                    "the engine takes no more questions",
                    where="engine",
                    expected="a question before the engine ends or fails",
                    fix="start another engine",
                ) from self.error
            reply = Reply(job, tell, self._wake, answer, self._taken)
            self._taken += 1
            searches = isinstance(job.decoding, Beam)
            (self._for_search if searches else self._waiting).append((reply, pixels))
            self._idle.clear()
            self._change.notify_all()
        return reply

    def together(self) -> AbstractContextManager[object]:
        """What is submitted in this context is answered by the same weights."""
        return self._change

    def offer(self, model: Model, taken: Callable[[], None]) -> None:
        """Takes a model that is the same but for its weights, between jobs.

        The jobs that have been submitted are answered before, and later ones after it. An offer
        that has not been taken when the next one comes is left out.

        Args:
            model: from `Model.at`.
            taken: called on the engine's thread, once it answers.
        """
        with self._change:
            first = self._offered.before if self._offered else self._taken
            self._offered = _Offer(model, taken, first)
            self._change.notify_all()

    def drain(self) -> None:
        """Takes no more jobs, and returns when all have ended."""
        with self._change:
            self._draining = True
            self._change.notify_all()
        self._idle.wait()

    def _check(self, job: Job) -> None:
        if not 1 <= job.max_new_tokens <= self.max_new_tokens:
            raise ConfigError(
                f"{job.max_new_tokens} new tokens",
                where="max_new_tokens",
                expected=f"from 1 to {self.max_new_tokens}",
                fix="ask for fewer, or start the engine with a larger max_new_tokens",
            )
        if isinstance(job.decoding, Beam):
            self._searches.check(job)
        elif isinstance(job.decoding, Sample) and job.decoding.n != 1:
            raise ConfigError(
                "several answers to one job",
                where="n",
                expected="1",
                fix="submit a job for each, with seeds of their own",
            )
        if job.question.images and not self._sees:
            raise ConfigError(
                "a question about an image",
                where="images",
                expected="text only: the model has no vision tower",
                fix="leave the images out, or serve a checkpoint of stage 1 or 2",
            )
        length = len(job.question.input_ids)
        if length > self.longest:
            raise DataError(
                f"a prompt of {length} tokens",
                where="prompt",
                expected=f"at most {self.longest}",
                fix="shorten it, or start the engine with a smaller max_new_tokens",
            )

    def _wake(self) -> None:
        with self._change:
            self._change.notify_all()

    # --- the engine's thread ----------------------------------------------------------------

    def _run(self) -> None:
        try:
            with on_mesh(self.model.mesh):
                self._prepare()
                self._ready.set()
                while self._wait():
                    self._leave()
                    self._change_weights()
                    self._join()
                    if any(self._held):
                        self._advance()
                    self._searches.advance()
        except Exception as error:
            _log.exception("the engine failed")
            self.error = error
        finally:
            self._end_all()
            self._ready.set()

    def _wait(self) -> bool:
        """Waits for something to do; whether there is to be a next step."""
        with self._change:
            while not (self.waiting or self.running or self._offered or self._closing):
                self._idle.set()
                self._change.wait()
        return not self._closing

    def _end_all(self) -> None:
        with self._change:
            self._draining = True
            held = *self._held, self._searches.reply
            open_ = [reply for reply in held if reply is not None]
            open_ += [reply for reply, _ in (*self._waiting, *self._for_search)]
            self._waiting.clear()
            self._for_search.clear()
            self._held, self._searches.reply = [None] * self.slots, None
            self._idle.set()
        for reply in open_:
            reply.say(Failed(self.error) if self.error else reply.end("cancelled"))

    def _leave(self) -> None:
        """Frees the slots of cancelled jobs."""
        for slot, reply in enumerate(self._held):
            if reply is not None and reply.cancelled.is_set():
                self._held[slot] = None
                reply.say(reply.end("cancelled"))
        self._searches.leave_if_cancelled()

    def _change_weights(self) -> None:
        """Takes the model that is offered, if all jobs before it have ended."""
        with self._change:
            offer, queues = self._offered, (self._waiting, self._for_search)
            if offer is None or self.running:
                return
            if any(queue and queue[0][0].number < offer.before for queue in queues):
                return
            self._offered = None
        self.model = self._searches.model = offer.model
        self._looks.take(offer.model)
        offer.taken()

    def _join(self) -> None:
        """Puts waiting jobs into free slots, and starts the next search if there is none."""
        for slot in range(self.slots):
            while self._held[slot] is None and (found := self._next(self._waiting)):
                reply, pixels = found
                self._held[slot], reply.step = reply, self.model.step
                prompt = self._read(reply.job.question, pixels)
                settings = slots_lib.settings_of(reply.job.decoding)
                arguments = self._state, prompt, np.int32(slot), settings, self._fixed
                self._state = self._insert(*arguments)
                self._take([slot])
        while self._searches.reply is None and (found := self._next(self._for_search)):
            reply, pixels = found
            reply.step = self.model.step
            self._searches.start(reply, self._read(reply.job.question, pixels))

    def _next(self, queue: deque[tuple[Reply, np.ndarray]]) -> tuple[Reply, np.ndarray] | None:
        """The next job that somebody waits for, with its images, if it may begin now."""
        while queue:
            with self._change:
                if self._offered and queue[0][0].number >= self._offered.before:
                    return None
                reply, pixels = queue.popleft()
            if not reply.cancelled.is_set():
                return reply, pixels
            reply.say(reply.end("cancelled"))
        return None

    def _advance(self) -> None:
        self._state = self._step(self.model.variables, self._state, self._fixed)
        self._take([slot for slot, reply in enumerate(self._held) if reply is not None])

    def _take(self, slots: list[int]) -> None:
        """Hands the latest tokens of `slots` to their jobs."""
        ids, logprobs = np.asarray(self._state.ids), np.asarray(self._state.logprobs)
        for slot in slots:
            reply = self._held[slot]
            assert reply is not None
            end = reply.take(int(ids[slot]), float(logprobs[slot]))
            if end is not None:
                self._held[slot] = None
                reply.say(end)

    def _read(self, question: Question, pixels: Sequence[np.ndarray]) -> Prompt:
        """The prompt as the model reads it, images included."""
        visual = self._visual(question, pixels) if self._sees else None
        program = self._reads[self._length(question)]
        return program(self.model.variables, visual, *self._prompt(question))

    def _length(self, question: Question) -> int:
        return next(n for n in self._lengths if n >= len(question.input_ids))

    def _prompt(self, question: Question) -> tuple[np.ndarray, np.ndarray]:
        """The row of a prompt, once for each device that shares rows."""
        pad_id = existing(self.model.tokenizer, "prompts").pad_id
        rows = [question.input_ids] * self._rows
        return dialogue.pad_left(rows, pad_id, self._length(question))

    def _visual(
        self, question: Question, pixels: Sequence[np.ndarray]
    ) -> Float[np.ndarray, "W IQ D"]:
        """The visual tokens of a prompt's images, and zeros up to the most that there may be."""
        cfg = self.model.config.model
        found = np.zeros((self._rows, self._places, cfg.llm.width), cfg.dtype)
        for i, image in enumerate(pixels):
            _, tokens = self._looks.of(image, question.qformer_ids)
            found[:, i * len(tokens) : (i + 1) * len(tokens)] = tokens
        return found

    # --- programs ---------------------------------------------------------------------------

    def _prepare(self) -> None:
        """Compiles every program by running it once, and allocates the slots."""
        cfg, model = self.model.config.model, self.model
        self._places = self.longest // cfg.qformer.num_queries * cfg.qformer.num_queries
        self._lengths = _lengths(self.longest)
        self._reads: dict[int, Any] = {}
        tokenizer = existing(model.tokenizer, "answers")
        self._fixed = Fixed(np.array([tokenizer.eos_id], np.int32), np.int32(tokenizer.pad_id))
        self._state = self._allocate()
        if self._sees:
            self._looks.prepare()
        for length in self._lengths:
            question = Question([tokenizer.eos_id] * length, (), [])
            visual = self._visual(question, ()) if self._sees else None
            arguments = model.variables, visual, *self._prompt(question)
            read = functools.partial(slots_lib.prefill, cfg=cfg, places=self.longest)
            self._reads[length] = self._compile_placed(read, *arguments)
        prompt = self._read(question, ())
        insert = functools.partial(slots_lib.insert, cfg=cfg)
        settings = slots_lib.settings_of(Greedy())
        arguments = self._state, prompt, np.int32(0), settings, self._fixed
        self._insert = self._compile_placed(insert, *arguments, donate_argnums=0)
        step = functools.partial(slots_lib.step, cfg=cfg)
        arguments = model.variables, self._state, self._fixed
        self._step = self._compile_placed(step, *arguments, donate_argnums=1)
        self._searches.prepare(prompt, self._fixed, self._compile_placed)

    def _compile(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """The program for arguments of these shapes; it refuses others."""
        self.compiled += 1
        return compiled(function, *arguments, **options)

    def _compile_placed(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """`_compile`, the results of the program placed as `_shardings` says."""
        options["out_shardings"] = self._shardings(jax.eval_shape(function, *arguments))
        return self._compile(function, *arguments, **options)

    def _shardings(self, abstract: Any) -> Any:
        """Where arrays go: the heads of keys and values to where those of the weights are."""

        place = functools.partial(cache_sharding, self.model.mesh)
        return jax.tree.map(place, abstract)

    def _allocate(self) -> Slots:
        """Empty slots."""
        cfg = self.model.config.model
        ids, mask = self._prompt(Question([0], (), []))
        read = functools.partial(slots_lib.prefill, cfg=cfg, places=self.longest)
        prompt = jax.eval_shape(read, self.model.variables, None, ids, mask)

        def make() -> Slots:
            zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), prompt)
            return slots_lib.empty(zeros, self.slots, self.max_new_tokens)

        return jax.jit(make, out_shardings=self._shardings(jax.eval_shape(make)))()


def _lengths(longest: int) -> list[int]:
    found, length = [], _SHORTEST
    while length < longest:
        found.append(length)
        length *= _APART
    return [*found, longest]
