"""What both languages share: a question with its answer, and a choice of words."""

from __future__ import annotations

import random
from dataclasses import dataclass

IMAGE = "<image>"


@dataclass(frozen=True)
class QA:
    """A question and its one right answer; ``variants`` are other spellings to accept."""

    question: str
    answer: str
    variants: tuple[str, ...] = ()


def pick(rng: random.Random, *templates: str) -> str:
    """Returns one of several wordings of the same thing."""
    return rng.choice(templates)


def lettered(options: tuple[str, ...]) -> str:
    """Returns ``"(a) first (b) second"``."""
    return " ".join(f"({letter}) {text}" for letter, text in zip("abcdef", options, strict=False))
