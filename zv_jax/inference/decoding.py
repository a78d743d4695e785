"""Ways to continue a prompt, as objects: `Greedy`, `Sample` and `Beam`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np

from zv_jax.errors import ConfigError


@dataclass(frozen=True)
class Greedy:
    """Takes the most probable token each time."""


@dataclass(frozen=True)
class Sample:
    """Draws each token.

    Attributes:
        temperature: above 0; below 1 sharpens the distribution.
        top_p: draw from the most probable tokens that hold this share of the probability.
        top_k: draw from this many of the most probable tokens; 0: from all.
        seed: of the first row, from which the others count on, or one for each row.

    Raises:
        ConfigError: a number is out of range.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | Sequence[int] = 0

    def __post_init__(self) -> None:
        if self.temperature <= 0 or not 0 < self.top_p <= 1 or self.top_k < 0:
            raise ConfigError(
                f"temperature {self.temperature} with top_p {self.top_p} and top_k {self.top_k}",
                where="temperature, top_p, top_k",
                expected="a temperature of 0 or more, top_p above 0 and at most 1, top_k of 0 or "
                "more",
                fix="leave them out for the most probable answer",
            )

    def seeds(self, rows: int) -> np.ndarray:
        """uint32 [rows]."""
        one = np.ndim(self.seed) == 0
        return np.asarray(self.seed + np.arange(rows) if one else self.seed).astype(np.uint32)


@dataclass(frozen=True)
class Beam:
    """Keeps the `num_beams` best sequences; scores as in Hugging Face transformers.

    Attributes:
        num_beams: at least 1.
        length_penalty: above 0 prefers long answers, below 0 short ones.
        min_new_tokens: tokens before a row may end.

    Raises:
        ConfigError: there is no beam.
    """

    num_beams: int = 5
    length_penalty: float = 1.0
    min_new_tokens: int = 0

    def __post_init__(self) -> None:
        if self.num_beams < 1:
            raise ConfigError(
                f"{self.num_beams} beams",
                where="num_beams",
                expected="at least 1",
                fix="leave it out for the most probable token each time",
            )


Decoding = Greedy | Sample | Beam


class Keywords(TypedDict, total=False):
    """The same as keywords: `temperature` above 0 samples; several beams, or a least number of
    tokens, search."""

    temperature: float
    top_p: float
    top_k: int
    seed: int | Sequence[int]
    num_beams: int
    length_penalty: float
    min_new_tokens: int


def from_keywords(decoding: Decoding | None, keywords: Keywords, restricted: bool) -> Decoding:
    """The method that is asked for, in either form; without any, `Greedy`.

    Args:
        restricted: whether only some answers are allowed, which takes a search.

    Raises:
        ConfigError: both forms are given, or a number is out of range, or tokens would be drawn
            and searched for at once.
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
            "tokens are drawn, and only some answers are allowed",
            where="decoding",
            expected="Greedy or Beam with choices",
            fix="leave one of them out",
        )
    return Beam(1) if restricted and isinstance(decoding, Greedy) else decoding


def _of(keywords: Keywords, restricted: bool) -> Decoding:
    temperature = keywords.get("temperature", 0.0)
    # All that is given is checked, used or not.
    sample = Sample(
        temperature or 1.0,
        keywords.get("top_p", 1.0),
        keywords.get("top_k", 0),
        keywords.get("seed", 0),
    )
    beam = Beam(
        keywords.get("num_beams", 1),
        keywords.get("length_penalty", 1.0),
        keywords.get("min_new_tokens", 0),
    )
    searches = beam.num_beams > 1 or beam.min_new_tokens > 0 or restricted
    if searches and temperature > 0:
        raise ConfigError(
            f"{beam.num_beams} beams with temperature {temperature}",
            where="num_beams",
            expected="no temperature with a search or with choices",
            fix="leave one of them out",
        )
    if searches:
        return beam
    return sample if temperature else Greedy()
