"""Searches beside the slots: beams, and answers restricted to a list, of one prompt at a time.

A search shows no token before its end, but it too advances by one token between two steps of the
slots: nobody waits for it, and it can be cancelled at any token.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jax import Array

from zv_jax.errors import ConfigError, DataError, ServerError
from zv_jax.inference import answers, beam
from zv_jax.inference.beam import BeamState, Search
from zv_jax.inference.decoding import Beam, from_keywords
from zv_jax.inference.logits import Rules
from zv_jax.inference.model import Model
from zv_jax.inference.program import Prefilled, Sequences
from zv_jax.inference.prompts import existing
from zv_jax.inference.trie import Edges
from zv_jax.models.llama import grown
from zv_jax.models.presets import ModelConfig
from zv_jax.serving.jobs import Ended, Failed, Job, Piece
from zv_jax.serving.reply import Reply
from zv_jax.serving.slots import Prompt

MOST_EDGES = 4096  # of a tree of answers, about as many as its tokens
_NO_NODE = -2  # starts the edges that only fill the array

Compile = Callable[..., Any]


class Searches:
    """The programs of searches, and the one that is under way.

    Args:
        beams: the numbers of beams that jobs may have. Answers from a list need no more than one,
            which is always there.
        new: most tokens of an answer.

    Attributes:
        reply: the job of the search under way; None while there is none.
    """

    def __init__(self, model: Model, beams: Sequence[int], new: int):
        self.model, self.beams, self.new = model, tuple(sorted({*beams} - {1})), new
        self.reply: Reply | None = None
        self._starts: dict[tuple[int, bool], Any] = {}
        self._steps: dict[tuple[int, bool], Any] = {}
        self._search: Search
        self._state: BeamState

    def prepare(self, prompt: Prompt, fixed: Any, compiled: Compile) -> None:
        """Compiles the programs for prompts like `prompt`.

        Args:
            compiled: takes a function and its arguments, and returns its program.
        """
        self._fixed = fixed
        cfg, new = self.model.config.model, self.new
        kinds = [(1, True), *((count, tree) for count in self.beams for tree in (False, True))]
        for count, tree in kinds:
            begin = functools.partial(_begin, cfg, count, new)
            arguments = prompt, self._settings(Beam(count), new), _filled(None) if tree else None
            self._starts[count, tree] = start = compiled(begin, *arguments)
            search, state = start(*arguments)
            step = functools.partial(beam.advance, cfg=cfg)
            arguments = self.model.variables, search, state
            self._steps[count, tree] = compiled(step, *arguments, donate_argnums=2)

    def check(self, job: Job) -> None:
        """Refuses what the programs cannot search.

        Raises:
            ConfigError: there is no program for so many beams, or answers from a list have a
                length to reach.
            DataError: the list of answers is too long.
        """
        assert isinstance(job.decoding, Beam)
        from_keywords(job.decoding, {}, job.trie is not None)
        count = job.decoding.num_beams
        if count not in self.beams and not (count == 1 and job.trie):
            raise ConfigError(
                f"{count} beams",
                where="num_beams",
                expected=" or ".join(map(str, self.beams)) or "none: the server has no searches",
                fix=f"start the server with --beams={count}",
            )
        if job.trie is None:
            return
        size = len(job.trie.edges.token)
        if size > MOST_EDGES:
            raise DataError(
                f"answers of {size:,} tokens in all",
                where="choices",
                expected=f"at most {MOST_EDGES:,}",
                fix="give fewer or shorter answers",
            )
        if job.trie.depth > job.max_new_tokens:
            raise DataError(
                f"an answer of {job.trie.depth} tokens",
                where="choices",
                expected=f"at most {job.max_new_tokens}",
                fix="shorten it, or raise max_tokens",
            )

    def start(self, reply: Reply, prompt: Prompt) -> None:
        """Begins the search of a job."""
        job = reply.job
        assert isinstance(job.decoding, Beam)
        self.reply, self._kind = reply, (job.decoding.num_beams, job.trie is not None)
        settings = self._settings(job.decoding, job.max_new_tokens)
        edges = _filled(job.trie.edges) if job.trie else None
        self._search, self._state = self._starts[self._kind](prompt, settings, edges)
        self._end_if_done()

    def advance(self) -> None:
        """One more token of the search under way, if there is one."""
        if self.reply is None:
            return
        step = self._steps[self._kind]
        self._state = step(self.model.variables, self._search, self._state)
        self._end_if_done()

    def leave_if_cancelled(self) -> None:
        """Ends a search that nobody waits for."""
        if self.reply is not None and self.reply.cancelled.is_set():
            self.reply.say(self.reply.end("cancelled"))
            self.reply = None

    def _settings(self, decoding: Beam, most: int) -> dict[str, Any]:
        number = np.float32
        rules = Rules(
            self._fixed.stop,
            self._fixed.pad_id,
            np.int32(self.model.config.model.image_token_id),
            np.int32(decoding.min_new_tokens),
            number(decoding.repetition_penalty),
        )
        return {
            "most": np.int32(most),
            "length_penalty": number(decoding.length_penalty),
            "rules": rules,
        }

    def _end_if_done(self) -> None:
        reply = self.reply
        assert reply is not None
        most = reply.job.max_new_tokens
        # Scores that are no numbers never say that a row is done.
        if not np.asarray(self._state.done)[0] and int(self._state.step) < most:
            return
        self.reply = None
        scores, *rest = (np.asarray(kept)[0] for kept in self._state.ended)
        tokens, logprobs = (kept[:, :most] for kept in rest)
        _say(self.model, reply, Sequences(tokens, scores, logprobs))


def _say(model: Model, reply: Reply, found: Sequences) -> None:
    """Tells the answers of a search, the best first."""
    tokenizer, prompt = existing(model.tokenizer, "answers"), model.config.model.prompt
    job = reply.job
    assert isinstance(job.decoding, Beam)
    best = list(answers.of(found, tokenizer, prompt, job.stop))[: job.decoding.n]
    if not best:
        why = ServerError(
            "the search found no answer",
            where="num_beams, choices",
            expected="weights whose log-probabilities are numbers",
            fix="ask without a search, and check the checkpoint with zv convert verify",
        )
        reply.say(Failed(why))
    length = len(job.question.input_ids)
    for i, answer in enumerate(best):
        logprobs = tuple(map(float, answer.logprobs)) if job.logprobs else None
        reply.say(Piece(answer.text, tuple(map(int, answer.ids)), logprobs, i, reply.step))
        ended = answer.ids[-1] == tokenizer.eos_id
        ended = ended or prompt.stopped(tokenizer.decode(answer.ids), job.stop)
        reason = "stop" if ended else "length"
        reply.say(Ended(reason, len(answer.ids), length, i, len(best) - 1 - i))


def _filled(edges: Edges | None) -> Edges:
    """Edges in arrays of one size, whatever the tree."""
    parent, token, child = (np.zeros(MOST_EDGES, np.int32) for _ in range(3))
    parent[:] = _NO_NODE
    if edges is not None:
        size = len(edges.token)
        parent[:size], token[:size], child[:size] = edges
    return Edges(parent, token, child)


def _begin(
    cfg: ModelConfig, num_beams: int, new: int, prompt: Prompt, settings: dict[str, Array],
    edges: Edges | None,
) -> tuple[Search, BeamState]:  # fmt: skip
    """The search of a prompt that has been read, and its first token."""
    lengths = prompt.seen.sum(1, dtype=np.int32)
    read = Prefilled(prompt.logits, prompt.kept, prompt.seen, lengths)
    search, state = beam.start(
        read, edges=edges, num_beams=num_beams, max_new_tokens=new, logprobs=True, **settings
    )
    return search, state._replace(cache=grown(state.cache, max(new - 1, 1)))
