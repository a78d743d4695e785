"""Decoding methods as objects: `Greedy`, `Sample` and `Beam`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from jaxtyping import UInt32

from zv_jax.errors import ConfigError


@dataclass(frozen=True)
class Greedy:
    """Takes the most probable token at each step.

    Attributes:
        min_new_tokens: tokens before a row may end.
        repetition_penalty: above 1 makes repeated tokens of the answer less likely; tokens of the
            prompt do not count.

    Raises:
        ConfigError: a number is out of range.
    """

    min_new_tokens: int = 0
    repetition_penalty: float = 1.0

    def __post_init__(self) -> None:
        _check_rules(self)


@dataclass(frozen=True)
class Sample:
    """Draws each token.

    Attributes:
        temperature: above 0; below 1 sharpens the distribution.
        top_p: draw from the most probable tokens with this total probability.
        top_k: draw from this many of the most probable tokens; 0: from all.
        seed: of the first row, with row i drawing by seed + i; or one for each row.
        min_p: drop tokens less probable than this share of the most probable one.
        min_new_tokens, repetition_penalty: as in `Greedy`.
        n: answers drawn for each row, each with its own seed.

    Raises:
        ConfigError: a number is out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | Sequence[int] = 0
    min_p: float = 0.0
    min_new_tokens: int = 0
    repetition_penalty: float = 1.0
    n: int = 1

    def __post_init__(self) -> None:
        if self.temperature <= 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ConfigError(
                f"temperature {self.temperature} with top_p {self.top_p} and top_k {self.top_k}",
                where="temperature, top_p, top_k",
                expected="a temperature of 0 or more, top_p above 0 and at most 1, top_k of 0 or "
                "more",
                fix="leave them out for the most probable answer",
            )
        if not 0 <= self.min_p <= 1:
            raise ConfigError(
                f"min_p {self.min_p}",
                where="min_p",
                expected="a share from 0 to 1",
                fix="leave it out, or try 0.05",
            )
        _check_rules(self)
        _check_count(self.n, None)

    def seeds(self, rows: int) -> UInt32[np.ndarray, " {rows}"]:
        """The seed of each row."""
        one = np.ndim(self.seed) == 0
        return np.asarray(self.seed + np.arange(rows) if one else self.seed).astype(np.uint32)


@dataclass(frozen=True)
class Beam:
    """Keeps the `num_beams` best sequences; scores as in Hugging Face transformers.

    Attributes:
        num_beams: at least 1.
        length_penalty: above 0 prefers long answers, below 0 short ones.
        min_new_tokens, repetition_penalty: as in `Greedy`.
        n: the number of best sequences to return; at most `num_beams`.

    Raises:
        ConfigError: a number is out of range.
    """

    num_beams: int = 5
    length_penalty: float = 1.0
    min_new_tokens: int = 0
    repetition_penalty: float = 1.0
    n: int = 1

    def __post_init__(self) -> None:
        if self.num_beams < 1:
            raise ConfigError(
                f"{self.num_beams} beams",
                where="num_beams",
                expected="at least 1",
                fix="leave it out for the most probable token each time",
            )
        _check_rules(self)
        _check_count(self.n, self.num_beams)


def _check_rules(method: Greedy | Sample | Beam) -> None:
    least, penalty = method.min_new_tokens, method.repetition_penalty
    if least < 0 or penalty <= 0:
        raise ConfigError(
            f"min_new_tokens {least} with repetition_penalty {penalty}",
            where="min_new_tokens, repetition_penalty",
            expected="0 tokens or more, a penalty above 0",
            fix="leave them out: 0 tokens, a penalty of 1",
        )


def _check_count(n: int, most: int | None) -> None:
    if n < 1 or (most is not None and n > most):
        raise ConfigError(
            f"{n} answers for each row" + (f" by {most} beams" if most else ""),
            where="n",
            expected="at least 1" + (", at most as many as beams" if most else ""),
            fix="raise num_beams, or lower n" if most else "leave it out for one answer",
        )


Decoding = Greedy | Sample | Beam

PRESETS: dict[str, Decoding] = {
    # InstructBLIP's `generate` in LAVIS, and the demo of Ziya-Visual v1.
    "instructblip": Beam(5, min_new_tokens=1, repetition_penalty=1.5),
    "ziya": Sample(0.7, top_p=0.1, repetition_penalty=1.18),
}
"""Settings of other models."""


class Keywords(TypedDict, total=False):
    """The same as keywords: `temperature` above 0 samples, `num_beams` above 1 searches."""

    temperature: float
    top_p: float
    top_k: int
    seed: int | Sequence[int]
    num_beams: int
    length_penalty: float
    min_p: float
    min_new_tokens: int
    repetition_penalty: float
    n: int


def from_keywords(decoding: Decoding | None, keywords: Keywords, restricted: bool) -> Decoding:
    """The decoding method given as an object or as keywords; without either, `Greedy`.

    Args:
        restricted: whether only some answers are allowed, which requires a search.

    Raises:
        ConfigError: both forms are given, a number is out of range, sampling is combined with a
            search, or given answers with a length.
        TypeError: an unknown keyword.
    """
    unknown = [name for name in keywords if name not in Keywords.__annotations__]
    if unknown:
        raise TypeError(f"unexpected keyword argument {unknown[0]!r}")
    if decoding is None:
        decoding = _of(keywords, restricted)
    elif keywords:
        raise ConfigError(
            f"{type(decoding).__name__} beside {', '.join(keywords)}",
            where="decoding",
            expected="a method, or its keywords",
            fix=f"write them into the method: {type(decoding).__name__}(...)",
        )
    if restricted and isinstance(decoding, Sample):
        raise ConfigError(
            "sampling cannot be restricted to given answers",
            where="decoding",
            expected="Greedy or Beam with choices",
            fix="leave one of them out",
        )
    if restricted and decoding.min_new_tokens:
        raise ConfigError(
            f"min_new_tokens {decoding.min_new_tokens} with choices",
            where="min_new_tokens",
            expected="0: an answer from a list has the length that it has",
            fix="leave it out",
        )
    if restricted and isinstance(decoding, Greedy):
        return Beam(1, 1.0, decoding.min_new_tokens, decoding.repetition_penalty)
    return decoding


def _of(keywords: Keywords, restricted: bool) -> Decoding:
    temperature, n = keywords.get("temperature", 0.0), keywords.get("n", 1)
    least, penalty = keywords.get("min_new_tokens", 0), keywords.get("repetition_penalty", 1.0)
    # All keywords are checked, used or not.
    greedy = Greedy(least, penalty)
    beam = Beam(keywords.get("num_beams", 1), keywords.get("length_penalty", 1.0), least, penalty)
    searches = beam.num_beams > 1 or restricted
    sample = Sample(
        temperature or 1.0,
        keywords.get("top_p", 1.0),
        keywords.get("top_k", 0),
        keywords.get("seed", 0),
        min_p=keywords.get("min_p", 0.0),
        min_new_tokens=least,
        repetition_penalty=penalty,
        n=1 if searches else n,
    )
    if searches and temperature > 0:
        raise ConfigError(
            f"{beam.num_beams} beams with temperature {temperature}",
            where="num_beams",
            expected="no temperature with a search or with choices",
            fix="leave one of them out",
        )
    if searches:
        return dataclasses.replace(beam, n=n)
    if n > 1 and not temperature:
        raise ConfigError(
            f"{n} answers for each row, and only one is the most probable token each time",
            where="n",
            expected="a temperature, or beams",
            fix="add temperature=0.7 or num_beams=5",
        )
    return sample if temperature else greedy
