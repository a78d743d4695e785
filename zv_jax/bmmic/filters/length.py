"""Filter 2: neither too short nor too long, not cut off, not repeating itself."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from zv_jax.bmmic.filters import words
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.pair import Pair


@dataclass(frozen=True)
class Settings:
    """Thresholds of `Length`: English words and Chinese characters, of each turn."""

    min_question_en: int = 3
    max_question_en: int = 200
    min_answer_en: int = 1
    max_answer_en: int = 600
    min_question_zh: int = 2
    max_question_zh: int = 400
    min_answer_zh: int = 1
    max_answer_zh: int = 1500
    min_detail_en: int = 20  # of a detailed description
    min_detail_zh: int = 30
    max_repeats: int = 2  # of one sentence in an answer
    max_clauses: int = 3  # of one clause of three words or characters, or more


_BREAKS_OFF = re.compile(
    r"[,，、;；:：（(“]\s*$|\b(?:and|or|the|a|an|of|with|because|which|is|are|but)\s*$"
    r"|(?:和|与|或|以及|因为|并且|而且|的是|位于|还有|正在|一个|一只|一辆|一位)\s*$",
    re.I,
)
_ENDS = re.compile(r"[.!?。！？…)）\]】\"”'’」》*]\s*$")
_JOINS = re.compile(r"^(?:and|then|or|so)\s+|^(?:而且|并且|然后|以及|和)", re.I)
_UNIT = re.compile(rf"[{words.HAN}]|[^\W\d_]+(?:['’-]\w+)*|\d+(?:\.\d+)?")


def size(text: str, lang: str) -> int:
    """Words of an English text; of a Chinese one characters, with words of Latin letters as one."""
    return len(text.split()) if lang == "en" else len(_UNIT.findall(text))


class Length(Filter):
    """Bounds for every turn, and answers that came to their end."""

    name = "length"

    def complaint(self, pair: Pair) -> str | None:
        if pair.finish_reason != "stop":
            return f"finish_reason {pair.finish_reason!r}"
        for question, answer in pair.exchanges:
            why = self._bounds(question, "question", pair.lang)
            why = why or self._bounds(answer, "answer", pair.lang) or self._end(answer)
            if why:
                return why
        least = getattr(self.settings, f"min_detail_{pair.lang}")
        if pair.kind == "detail" and size(" ".join(pair.answers), pair.lang) < least:
            return f"a description of less than {least}"
        if pair.kind == "detail" and not _ENDS.search(pair.answers[-1]):
            return f"breaks off: ...{pair.answers[-1][-20:]!r}"
        return None

    def _bounds(self, text: str, side: str, lang: str) -> str | None:
        count = size(text, lang)
        if side == "answer" and not count and words.BOX.search(text):
            return None
        least = getattr(self.settings, f"min_{side}_{lang}")
        most = getattr(self.settings, f"max_{side}_{lang}")
        if least <= count <= most:
            return None
        return f"{side} of {count} ({least} to {most})"

    def _end(self, answer: str) -> str | None:
        if _BREAKS_OFF.search(answer):
            return f"breaks off: ...{answer[-20:]!r}"
        said = Counter(words.bare(s) for s in words.sentences(answer) if len(words.bare(s)) > 3)
        if said and max(said.values()) > self.settings.max_repeats:
            return f"a sentence {max(said.values())} times"
        parts = [_JOINS.sub("", part.strip()) for part in words.clauses(answer)]
        told = Counter(words.bare(part) for part in parts if len(_UNIT.findall(part)) >= 3)
        if told and max(told.values()) > self.settings.max_clauses:
            return f"a clause {max(told.values())} times"
        if re.search(r"(.{2,30}?)\1{4,}", words.bare(answer)):
            return "repeats itself without end"
        return None
