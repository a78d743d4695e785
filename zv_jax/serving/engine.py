"""The engine: one thread that answers many questions at once, each in a slot of its own.

Questions join and leave between steps. All memory is allocated and all programs are compiled before
the engine is ready: one to encode an image, one for its visual tokens, one for each length of
prompts, and one for a step of all slots.
"""

from __future__ import annotations

import functools
import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from zv_jax.arrays import Array
from zv_jax.data.text import dialogue
from zv_jax.errors import ConfigError, DataError
from zv_jax.inference.answers import Growing
from zv_jax.inference.decoding import Greedy
from zv_jax.inference.model import Model
from zv_jax.inference.program import cache_sharding, compiled
from zv_jax.inference.prompts import Question, existing
from zv_jax.inference.seen import VisualTokens
from zv_jax.models.axes import on_mesh
from zv_jax.models.presets import ModelConfig
from zv_jax.serving import slots as slots_lib
from zv_jax.serving.jobs import Event, Failed, Job
from zv_jax.serving.reply import Reply
from zv_jax.serving.slots import Fixed, Settings, Slots

_log = logging.getLogger(__name__)
_SHORTEST, _APART = 64, 4  # the lengths of prompts: 64, 256, 1024, ..., and the longest


class Engine:
    """Answers jobs with a model of stage 1 or 2, or a language model alone.

        with Engine(model, slots=8) as engine:
            engine.submit(Job(question, Greedy(), 64), print)

    Args:
        model: loaded, on one host.
        slots: answers at a time; rounded up to a multiple of the devices that share rows.
        max_new_tokens: of the longest answer; the prompts have the rest of the model's positions.
        kept_images: images whose features are kept.

    Attributes:
        running, waiting: numbers of jobs.
        compiled: number of programs; it does not change once the engine is ready.
        error: what ended it; None while it works. Leaving the engine raises it.
    """

    def __init__(
        self, model: Model, *, slots: int = 8, max_new_tokens: int = 256, kept_images: int = 64
    ):
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
        self._change = threading.Condition()
        self._ready, self._idle = threading.Event(), threading.Event()
        self._draining = self._closing = False
        self.error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)

    @property
    def running(self) -> int:
        return sum(reply is not None for reply in self._held)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

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
            tell: called on the engine's thread, with one `Piece` for each token and then `Ended`,
                or with `Failed`; it must not block.

        Raises:
            DataError: an image cannot be read, or the prompt is too long.
            ConfigError: more new tokens than the engine has room for, several answers, or the
                engine takes no more.
        """
        self._check(job)
        pixels = self.model.processor.images(job.question.images)
        tokenizer = existing(self.model.tokenizer, "answers")
        answer = Growing(tokenizer, self.model.config.model.prompt, job.stop)
        reply = Reply(job, tell, self._wake, answer)
        with self._change:
            if self._draining:
                raise ConfigError(
                    "the engine takes no more questions",
                    where="engine",
                    expected="a question before the engine ends or fails",
                    fix="start another engine",
                ) from self.error
            self._waiting.append((reply, pixels))
            self._idle.clear()
            self._change.notify_all()
        return reply

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
        if getattr(job.decoding, "n", 1) != 1:
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
                    self._join()
                    if self.running:
                        self._advance()
        except Exception as error:
            _log.exception("the engine failed")
            self.error = error
        finally:
            self._end_all()
            self._ready.set()

    def _wait(self) -> bool:
        """Waits for something to do; whether there is to be a next step."""
        with self._change:
            while not (self._waiting or self.running or self._closing):
                self._idle.set()
                self._change.wait()
        return not self._closing

    def _end_all(self) -> None:
        with self._change:
            self._draining = True
            open_ = [reply for reply in self._held if reply is not None]
            open_ += [reply for reply, _ in self._waiting]
            self._waiting.clear()
            self._held = [None] * self.slots
            self._idle.set()
        for reply in open_:
            reply.say(Failed(self.error) if self.error else reply.end("cancelled"))

    def _leave(self) -> None:
        """Frees the slots of cancelled jobs."""
        for slot, reply in enumerate(self._held):
            if reply is not None and reply.cancelled.is_set():
                self._held[slot] = None
                reply.say(reply.end("cancelled"))

    def _join(self) -> None:
        """Puts waiting jobs into free slots."""
        for slot, held in enumerate(self._held):
            while held is None and self._waiting:
                with self._change:
                    reply, pixels = self._waiting.popleft()
                if reply.cancelled.is_set():
                    reply.say(reply.end("cancelled"))
                    continue
                self._held[slot] = held = reply
                self._state = self._admit(reply.job, pixels, slot)
                self._take([slot])
                held = self._held[slot]

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

    def _admit(self, job: Job, pixels: Sequence[np.ndarray], slot: int) -> Slots:
        arguments = self._arguments(job, pixels, slot)
        return self._reads[self._length(job.question)](*arguments)

    def _arguments(self, job: Job, pixels: Sequence[np.ndarray], slot: int) -> tuple:
        """The arguments of `_read`."""
        visual = self._visual(job.question, pixels) if self._sees else None
        prompt = visual, *self._prompt(job.question)
        settings = slots_lib.settings_of(job.decoding)
        arguments = *prompt, np.int32(slot), settings, self._fixed
        return self.model.variables, self._state, *arguments

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
            arguments = self._arguments(Job(question, Greedy(), 1), (), 0)
            read = functools.partial(_read, cfg)
            self._reads[length] = self._compile_for_slots(read, *arguments)
        step = functools.partial(slots_lib.step, cfg=cfg)
        self._step = self._compile_for_slots(step, model.variables, self._state, self._fixed)

    def _compile(self, function: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """The program for arguments of these shapes; it refuses others."""
        self.compiled += 1
        return compiled(function, *arguments, **options)

    def _compile_for_slots(self, function: Callable[..., Slots], *arguments: Any) -> Any:
        return self._compile(function, *arguments, donate_argnums=1, out_shardings=self._shardings)

    def _allocate(self) -> Slots:
        """Empty slots; the heads of their keys and values are where those of the weights are."""
        cfg, mesh = self.model.config.model, self.model.mesh
        ids, mask = self._prompt(Question([0], (), []))
        prefill = functools.partial(slots_lib.prefill, cfg=cfg)
        prompt = jax.eval_shape(prefill, self.model.variables, None, ids, mask)

        def make() -> Slots:
            zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), prompt)
            return slots_lib.empty(zeros, self.slots, self.longest, self.max_new_tokens)

        place = functools.partial(cache_sharding, mesh)
        self._shardings = jax.tree.map(place, jax.eval_shape(make))
        return jax.jit(make, out_shardings=self._shardings)()


def _lengths(longest: int) -> list[int]:
    found, length = [], _SHORTEST
    while length < longest:
        found.append(length)
        length *= _APART
    return [*found, longest]


def _read(
    cfg: ModelConfig, variables: dict, slots: Slots, visual: Array | None, ids: Array, mask: Array,
    slot: Array, settings: Settings, fixed: Fixed,
) -> Slots:  # fmt: skip
    """Prefill and insert, one program."""
    prompt = slots_lib.prefill(variables, visual, ids, mask, cfg=cfg)
    return slots_lib.insert(slots, prompt, slot, settings, fixed, cfg=cfg)
