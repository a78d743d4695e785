"""Filter 10: pairs seen before, texts nearly the same, questions asked too often."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from dataclasses import dataclass

from zv_jax.bmmic.filters import words
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.filters.length import size
from zv_jax.bmmic.pair import Pair
from zv_jax.data.cleaning.duplicates import text_bands


@dataclass(frozen=True)
class Settings:
    """Thresholds of `Duplicates`."""

    min_text: int = 20  # words or characters, below which equal answers of two images are chance
    max_alike: float = 0.8  # share of 3-grams that two questions about one image may have
    max_same_question: int = 500  # conversations and reasoning that begin with the same question...
    per: int = 10_000  # ...of so many pairs; a fraction of it is allowed from the start
    free: int = 20  # uses of a question that are always allowed


class Duplicates(Filter):
    """Compares a pair with those kept before it: exactly, by MinHash, and within its image."""

    name = "duplicates"

    def __init__(self, settings: Settings, samples: int = 20):
        super().__init__(settings, samples)
        self._texts: set[bytes] = set()
        self._bands: set[bytes] = set()
        self._asked: dict[bytes, list[frozenset[str]]] = {}
        self._questions: Counter[bytes] = Counter()
        self._kept = 0

    def complaint(self, pair: Pair) -> str | None:
        if not pair.exchanges:
            return None
        if self._key(pair) in self._texts:
            return "the same pair again"
        if not pair.source and _long(pair, self.settings.min_text):
            # Two bands at once: single ones are shared by chance within 10,000 texts.
            shared = sum(band in self._bands for band in self._bands_of(pair))
            if shared >= 2:
                return "nearly the same text again"
        if not pair.rewriting and self._alike(pair):
            return "nearly the same question about the image"
        return self._too_often(pair)

    def remember(self, pair: Pair) -> None:
        self._texts.add(self._key(pair))
        if not pair.source and _long(pair, self.settings.min_text):
            self._bands.update(self._bands_of(pair))
        grams = [_grams(q) for q in pair.questions]
        self._asked.setdefault(_image(pair), []).extend(grams)
        self._questions[_digest(words.bare(pair.questions[0]))] += 1
        self._kept += 1

    @staticmethod
    def _key(pair: Pair) -> bytes:
        """Of an image and what is said of it; long texts are no image's own."""
        said = "\x1f".join(words.bare(turn.text) for turn in pair.turns)
        return _digest(said + "\x1e" + (pair.view.id if size(said, pair.lang) < 200 else ""))

    def _bands_of(self, pair: Pair) -> list[bytes]:
        return text_bands(" ".join(words.bare(a) for a in pair.answers))

    def _alike(self, pair: Pair) -> bool:
        if pair.source or pair.kind == "detail":
            return False
        before = self._asked.get(_image(pair), ())
        inside: list[frozenset[str]] = []
        for question in pair.questions:
            grams = _grams(question)
            for other in (*before, *inside):
                if len(grams & other) > self.settings.max_alike * len(grams | other):
                    return True
            inside.append(grams)
        return False

    def _too_often(self, pair: Pair) -> str | None:
        if pair.kind in ("detail", "translate") or pair.source:
            return None
        used = self._questions[_digest(words.bare(pair.questions[0]))]
        allowed = self.settings.max_same_question * self._kept / self.settings.per
        if used > max(self.settings.free, allowed):
            return f"a question used {used} times"
        return None


def _image(pair: Pair) -> bytes:
    return _digest(f"{pair.view.id}\x1f{pair.lang}")


def _long(pair: Pair, least: int) -> bool:
    return size(" ".join(pair.answers), pair.lang) >= least


_FILLING = re.compile(
    r"\b(?:the|a|an|is|are|of|in|on|at|to|do|does|you|can|please|this|that|image|photo|"
    r"picture|it|its)\b"
    r"|[的了吗呢呀啊请吧么]|一下|图中|画面|图片|照片",
    re.I,
)


def _grams(text: str) -> frozenset[str]:
    """3-grams of what carries meaning, in American spelling."""
    bare = words.bare(_FILLING.sub(" ", text)).replace("colour", "color").replace("grey", "gray")
    return frozenset(bare[i : i + 3] for i in range(max(1, len(bare) - 2)))


def _digest(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=12).digest()
