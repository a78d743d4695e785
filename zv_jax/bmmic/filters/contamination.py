"""Filter 12: no image of an evaluation, no question of one."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zv_jax import json_input
from zv_jax.bmmic.filters import words
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.pair import Pair
from zv_jax.data.public.guard import Guard
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import Record


@dataclass(frozen=True)
class Settings:
    """What `Contamination` compares with."""

    guard: str = ""  # a folder of `zv data guard`; empty: no images are guarded
    questions: tuple[str, ...] = ()  # files of records, or of texts, one a line
    words_en: int = 8  # in a row that a question must not share with one of them
    characters_zh: int = 12


class Contamination(Filter):
    """Guard lists by image id, and long runs of words of the questions of evaluations."""

    name = "contamination"

    def __init__(
        self,
        settings: Settings,
        samples: int = 20,
        guard: Guard | None = None,
        questions: Iterable[str] = (),
    ):
        super().__init__(settings, samples)
        self._guard = guard or (Guard.load(settings.guard) if settings.guard else Guard({}))
        self._runs: set[bytes] = set()
        for text in (*questions, *_read(settings.questions)):
            self._runs.update(self._runs_of(text))

    def complaint(self, pair: Pair) -> str | None:
        for space, image in pair.view.shown:
            if image in self._guard.lists.get(space, ()):
                return f"image {image} of {space} is in an evaluation"
        for turn in pair.turns:
            if turn.role == "user" and not self._runs.isdisjoint(self._runs_of(turn.text)):
                return f"a question of an evaluation: {turn.text[:60]!r}"
        return None

    def _runs_of(self, text: str) -> Iterator[bytes]:
        """Hashes of every run of words, or of characters of a Chinese text."""
        text = words.normal(text).lower()
        han = len(re.findall(f"[{words.HAN}]", text))
        units = re.findall(r"[a-z0-9]+(?:'[a-z]+)?", text) if han < 2 else list(words.bare(text))
        size = self.settings.words_en if han < 2 else self.settings.characters_zh
        for start in range(len(units) - size + 1):
            run = "\x1f".join(units[start : start + size])
            yield hashlib.blake2b(run.encode(), digest_size=8).digest()


def _read(paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        if path.endswith(".jsonl"):
            for record in records_lib.read_jsonl(path):
                yield from _questions(record)
        else:
            yield from json_input.text(Path(path).read_bytes(), path).splitlines()


def _questions(record: Record) -> Iterator[str]:
    yield from (turn.text for turn in record.turns if turn.role == "user")
