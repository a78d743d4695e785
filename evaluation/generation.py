"""Asks a model in batches of one size, so that every kind of batch is compiled once."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from PIL import Image

from zv_jax.data.records.record import ImageRef
from zv_jax.evaluation.model import Model, Prompt
from zv_jax.evaluation.tasks.base import Item

T = TypeVar("T")
Picture = Callable[[ImageRef], Image.Image]
Tick = Callable[[int], object]


def batches(rows: Sequence[T], size: int) -> Iterator[tuple[list[T], int]]:
    """Yields `size` rows and how many of them count; the last batch repeats its first row."""
    for start in range(0, len(rows), size):
        part = list(rows[start : start + size])
        yield part + [part[0]] * (size - len(part)), len(part)


def generate(
    model: Model,
    items: Sequence[Item],
    picture: Picture,
    max_new_tokens: int,
    batch_size: int,
    tick: Tick = lambda n: None,
) -> list[list[str]]:
    """The model's answer to every turn of every item, its own earlier answers being the history.

    Args:
      picture: finds the picture of a reference.
      tick: called with the number of answers just given.
    """
    answers: list[list[str]] = [[] for _ in items]
    for turn in range(max((len(item.turns) for item in items), default=0)):
        # The number of pictures is part of a batch's shape.
        alike: dict[int, list[int]] = defaultdict(list)
        for number, item in enumerate(items):
            if turn < len(item.turns):
                alike[len(_shown(item, turn))].append(number)
        for numbers in alike.values():
            for part, real in batches(numbers, batch_size):
                said = model.answer(
                    [_prompt(items[i], turn, answers[i]) for i in part],
                    [[picture(ref) for ref in _shown(items[i], turn)] for i in part],
                    max_new_tokens=max_new_tokens,
                    instructions=[items[i].turns[turn].question for i in part],
                )
                for i, text in zip(part[:real], said, strict=False):
                    answers[i].append(text)
                tick(real)
    return answers


def _shown(item: Item, turn: int) -> tuple[ImageRef, ...]:
    """The pictures introduced up to a turn."""
    return tuple(item.images[i] for t in item.turns[: turn + 1] for i in t.images)


def _prompt(item: Item, turn: int, given: Sequence[str]) -> Prompt:
    if len(item.turns) == 1:
        return item.turns[0].question
    past = (replace(t, answer=a) for t, a in zip(item.turns[:turn], given, strict=False))
    return (*past, replace(item.turns[turn], answer=None))


def image_embeddings(
    model: Model,
    refs: Sequence[ImageRef],
    picture: Picture,
    batch_size: int,
    tick: Tick = lambda n: None,
) -> np.ndarray:
    """float [N, Q, D]; only one batch of pictures is held at a time."""
    parts = []
    for part, real in batches(refs, batch_size):
        images = [picture(ref) for ref in part]
        parts.append(np.asarray(model.image_embeddings(images), np.float32)[:real])
        tick(real)
    return np.concatenate(parts)


def text_embeddings(
    model: Model, texts: Sequence[str], batch_size: int, tick: Tick = lambda n: None
) -> np.ndarray:
    """float [N, D]."""
    parts = []
    for part, real in batches(texts, batch_size):
        parts.append(np.asarray(model.text_embeddings(part), np.float32)[:real])
        tick(real)
    return np.concatenate(parts)


def match_scores(
    model: Model,
    pairs: Sequence[tuple[ImageRef, str]],
    picture: Picture,
    batch_size: int,
    tick: Tick = lambda n: None,
) -> np.ndarray:
    """float [N], the logit of each pair."""
    parts = []
    for part, real in batches(pairs, batch_size):
        images, texts = [picture(ref) for ref, _ in part], [text for _, text in part]
        parts.append(np.asarray(model.match_scores(images, texts), np.float32)[:real])
        tick(real)
    return np.concatenate(parts)
