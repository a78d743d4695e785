"""Filter 4: every turn is in the language it should be in, all of it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zv_jax.bmmic.filters import concepts, words
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.pair import Pair


@dataclass(frozen=True)
class Settings:
    """Thresholds of `Language`."""

    max_latin_words: int = 8  # in a row, capital letters or not, in Chinese
    max_lower_words: int = 1  # in all, in small letters and no everyday word, in Chinese
    max_han_run: int = 2  # characters in a row in English
    max_han: int = 3  # in all


_WORD = re.compile(r"(?<![A-Za-z])[A-Za-z]+(?:['’-][A-Za-z]+)*")
_RUN = re.compile(r"[A-Za-z]+(?:[\s,.'’-]+[A-Za-z]+)*")
_CODE = re.compile(r"```.*?```|\{[^{}]*\}|<[^<>]*>", re.S)
_OTHER = re.compile(r"[\u3040-\u30ff\u0400-\u04ff\uac00-\ud7af\u0600-\u06ff\u0e00-\u0e7f]")
# Small words that Chinese texts use as they are.
_AT_HOME = frozenset(
    "logo app ok vs wifi emoji km cm mm kg ml cpu gps vip diy ip pk xl json".split()
)
_FUNCTION = frozenset(
    "the a an is are was were and or of in on at with to for by from that this it its not no yes "
    "there has have be as but his her their they he she which who what where how many one two "
    "three four five six seven eight nine ten red blue green yellow black white brown grey gray "
    "orange pink purple left right man woman boy girl people person front behind next near under "
    "sitting standing wearing holding playing large small image photo picture background".split()
)


# Small words of Spanish, Portuguese, French, Italian and German that are no English ones.
_ABROAD = frozenset(
    "el la los las una uno es está están del al con por para que muy y su junto um uma não está "
    "dos das ao com le les une est sont dans avec sur et du ses qui il della di che sono nel gli "
    "per der und ist ein eine einen mit auf den dem von zu nicht sind steht neben".split()
)
_LETTERS = re.compile(r"[^\W\d_]+")


class Language(Filter):
    """Script first, then words of the other language; quotes, names and boxes are left alone."""

    name = "language"

    def complaint(self, pair: Pair) -> str | None:
        judge = self._chinese if pair.lang == "zh" else self._english
        for turn in pair.turns:
            text = _CODE.sub(" ", words.plain(turn.text))
            if len(_OTHER.findall(text)) > 2:
                return "another script"
            if why := judge(text):
                return f"{why} in the {'question' if turn.role == 'user' else 'answer'}"
        return None

    def _chinese(self, text: str) -> str | None:
        han = len(re.findall(f"[{words.HAN}]", text))
        found = _WORD.findall(text)
        if not han and any(
            w.lower() in _FUNCTION or concepts.is_name(w) or w.islower() for w in found
        ):
            return "no Chinese"
        for run in _RUN.findall(text):
            if len(run.split()) > self.settings.max_latin_words:
                return f"untranslated: {run[:60]!r}"
        lower = [w for w in found if w.islower() and len(w) > 1 and w not in _AT_HOME]
        known = [w for w in lower if w in _FUNCTION or concepts.is_name(w)]
        if known or len(lower) > self.settings.max_lower_words:
            return f"untranslated: {' '.join(known or lower)[:60]!r}"
        return None

    def _english(self, text: str) -> str | None:
        runs = re.findall(f"[{words.HAN}]+", text)
        if any(len(run) > self.settings.max_han_run for run in runs):
            return f"Chinese: {max(runs, key=len)[:20]!r}"
        if sum(map(len, runs)) > self.settings.max_han:
            return f"Chinese: {''.join(runs)[:20]!r}"
        if runs and not _WORD.search(text):
            return "no English"
        said = [word.lower() for word in _LETTERS.findall(text)]
        abroad = [word for word in said if word in _ABROAD]
        # Three, so that a name such as Plaza de la Villa y Corte in an English sentence may stay.
        if len(abroad) > max(2, sum(word in _FUNCTION for word in said)):
            return f"no English: {' '.join(abroad)[:40]!r}"
        return None
