"""Requests for chat completions as jobs for the engine."""

from __future__ import annotations

import asyncio
import dataclasses
import secrets
import sys
from collections.abc import Sequence
from functools import partial
from typing import cast

from zv_jax.data.text import dialogue
from zv_jax.data.text.dialogue import Exchange
from zv_jax.errors import DataError
from zv_jax.inference.decoding import Decoding, Keywords, Sample, from_keywords
from zv_jax.inference.model import SEEDS_APART
from zv_jax.inference.prompts import existing
from zv_jax.serving import lengths, messages
from zv_jax.serving.follow import Current
from zv_jax.serving.images import Images
from zv_jax.serving.jobs import Job
from zv_jax.serving.requests import ChatRequest


class Asking:
    """Makes the jobs of requests to one model.

    Args:
        slots: most answers of one request.
        max_new_tokens: most tokens of one answer, and those that every prompt leaves room for.

    Raises:
        ConfigError: that number leaves no room for a prompt.
    """

    def __init__(self, current: Current, images: Images, slots: int, max_new_tokens: int):
        self.current, self.images, self.slots = current, images, slots
        model = current.model
        self.max_new_tokens = max_new_tokens
        self.longest = model.processor.longest_prompt(max_new_tokens)
        self.tokenizer = existing(model.tokenizer, "answers")

    async def jobs(self, body: ChatRequest) -> list[Job]:
        """A job for each of the `n` answers.

        A dialogue that is too long is refused: to drop its oldest texts is the client's decision.

        Raises:
            DataError, ConfigError: a field is wrong, an image cannot be read, or it is too long.
        """
        model, methods = self.current.model, decodings(body, self.slots)
        most = _most(body, self.max_new_tokens)
        heard = messages.dialogue_of(body.messages)
        # Before any image is fetched or decoded.
        await asyncio.to_thread(self._check_length, heard.turns)
        pixels = await self.images.read(heard.images)
        ask = partial(model.processor.question, heard.turns, pixels)
        question = await asyncio.to_thread(ask, max_new_tokens=self.max_new_tokens)
        for tokenizer in filter(None, (self.tokenizer, model.qformer_tokenizer)):
            tokenizer.forget()
        stop = (body.stop,) if isinstance(body.stop, str) else tuple(body.stop or ())
        trie = body.choices and await asyncio.to_thread(model.tree, body.choices)
        logprobs = bool(body.logprobs)
        return [Job(question, method, most, stop, logprobs, trie or None) for method in methods]

    def _check_length(self, turns: Sequence[Exchange]) -> None:
        characters = sum(
            len(turn.question) + len(turn.answer or "") + len(turn.system or "") for turn in turns
        )
        lengths.check(characters, self.tokenizer, self.longest, "messages")
        model = self.current.model.config.model
        row = dialogue.prompt_row(
            turns,
            self.tokenizer,
            num_queries=model.qformer.num_queries,
            image_token_id=model.image_token_id,
            max_length=sys.maxsize,
            prompt=model.prompt,
        )
        if len(row.input_ids) > self.longest:
            what = f"a prompt of {len(row.input_ids):,} tokens"
            raise lengths.too_long(what, self.longest, "messages")


def decodings(body: ChatRequest, slots: int) -> list[Decoding]:
    """The decoding of each of the `n` answers; one search finds all of its own.

    Without a temperature, answers are drawn only if another field asks for it: `n` above 1, or
    `top_p`, `top_k` or `min_p` with a value that excludes tokens. Draws without a seed get one.
    `num_beams` above 1 and `choices` search instead.

    Raises:
        DataError: there are more than `slots` answers.
        ConfigError: several are asked for at temperature 0.
    """
    n = body.n or 1
    if n > slots:
        raise DataError(f"{n} answers", "n", f"at most {slots}", "ask several times")
    restricted = body.choices is not None
    searches = restricted or (body.num_beams or 1) > 1
    draws = not searches and (n > 1 or (body.top_p or 1) < 1 or body.top_k or body.min_p)
    temperature = body.temperature if body.temperature is not None else float(bool(draws))
    keywords = {
        "temperature": temperature,
        "top_p": body.top_p,
        "top_k": body.top_k,
        "min_p": body.min_p,
        "min_new_tokens": body.min_tokens,
        "repetition_penalty": body.repetition_penalty,
        "num_beams": body.num_beams,
        "length_penalty": body.length_penalty,
        "n": n,
    }
    given = {name: value for name, value in keywords.items() if value is not None}
    method = from_keywords(None, cast(Keywords, given), restricted)
    if not isinstance(method, Sample):
        return [method]
    seed = secrets.randbits(32) if body.seed is None else body.seed
    seeds = [(seed + SEEDS_APART * i) % 2**32 for i in range(n)]
    return [dataclasses.replace(method, seed=seed, n=1) for seed in seeds]


def _most(body: ChatRequest, limit: int) -> int:
    """Most tokens of an answer."""
    given = {body.max_completion_tokens, body.max_tokens} - {None}
    if len(given) > 1:
        raise DataError(
            "max_tokens and max_completion_tokens differ",
            where="max_completion_tokens",
            expected="one of them",
            fix="leave out max_tokens, the older name",
        )
    most = min(given, default=limit)
    if most > limit:
        raise DataError(
            f"{most} tokens",
            where="max_tokens" if body.max_tokens else "max_completion_tokens",
            expected=f"at most {limit}",
            fix=f"ask for {limit}, or leave it out",
        )
    if (body.min_tokens or 0) > most:
        raise DataError(f"{body.min_tokens} tokens", "min_tokens", f"at most {most}", "lower it")
    return most
