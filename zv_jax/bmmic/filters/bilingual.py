"""Filter 9: a translation says what its original says: numbers, marks, yes and no, things."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass

from zv_jax.bmmic.filters import concepts, words
from zv_jax.bmmic.filters.base import Filter
from zv_jax.bmmic.filters.boxes import quoted
from zv_jax.bmmic.pair import Pair


@dataclass(frozen=True)
class Settings:
    """Thresholds of `Bilingual`."""

    min_ratio: float = 0.8  # Chinese characters to English words
    max_ratio: float = 3.5
    min_words: int = 15  # of English, below which the ratio may be half or twice that
    min_shared: float = 0.5  # of the things that both name, of those that the fewer names


COLOURS = {
    "red": "红", "blue": "蓝", "green": "绿", "yellow": "黄", "black": "黑", "white": "白",
    "brown": "棕褐咖", "grey": "灰", "gray": "灰", "orange": "橙橘", "pink": "粉", "purple": "紫",
}  # fmt: skip
_EN_COLOUR = re.compile(rf"\b({'|'.join(COLOURS)})\b", re.I)
_MEASURED = re.compile(
    r"(\d+|[一二三四五六七八九十百两]+)(?=[只个辆条匹头位名把张本架艘朵棵颗块根台座盏盆瓶杯"
    r"碗盘顶件双对群株支部枚片串束幅扇口"
    r"列间栋幢岁点次人种层月日年米元楼号天排行])"
)
_EN_VALUE = re.compile(
    r"(?<![\w.])\d+(?:[.,]\d+)*|\b(?:" + "|".join(words.EN_NUMBERS) + r")\b", re.I
)
_MONTHS = (
    "january february march april may june july august september october november december".split()
)
_TWO = re.compile(
    r"\b(?:two|both|pair|couple|twins?|double|twice|second|either|each|half|another)\b", re.I
)
_SIDES = (("left", "左"), ("right", "右"))


class Bilingual(Filter):
    """Compares the turns of a translation with those it began with, one by one."""

    name = "bilingual"

    def complaint(self, pair: Pair) -> str | None:
        if not pair.source:
            return None
        if len(pair.source) != len(pair.turns):
            return f"{len(pair.turns)} turns of {len(pair.source)}"
        for before, after in zip(pair.source, pair.turns, strict=True):
            if before.role != after.role:
                return "the roles changed"
            english, chinese = (
                (before.text, after.text) if pair.lang == "zh" else (after.text, before.text)
            )
            why = (
                _marks(before.text, after.text)
                or _numbers(english, chinese)
                or self._negation(english, chinese)
                or _sides(english, chinese)
                or self._things(english, chinese)
                or self._size(english, chinese)
            )
            if why:
                return f"{why} in the {'question' if after.role == 'user' else 'answer'}"
        return None

    @staticmethod
    def _negation(english: str, chinese: str) -> str | None:
        yes = words.polarity(english, "en"), words.polarity(chinese, "zh")
        if None not in yes and yes[0] != yes[1]:
            return "yes became no" if yes[0] else "no became yes"
        clear_en, trace_en = words.negation(words.plain(english), "en")
        clear_zh, trace_zh = words.negation(words.plain(chinese), "zh")
        if re.search(
            r"(?:isn|aren|don|doesn|won|can|couldn|wouldn)['’]t (?:it|they|you|we|he|she)\b",
            english,
        ):
            return None  # a question that expects a yes
        if clear_en and not trace_zh:
            return "a negation is missing"
        return "a negation was added" if clear_zh and not trace_en else None

    def _things(self, english: str, chinese: str) -> str | None:
        en = {m.concept for m in concepts.mentions(words.plain(english), "en")}
        zh = {m.concept for m in concepts.mentions(words.plain(chinese), "zh")}
        fewer, more = sorted((en, zh), key=len)
        if fewer:
            shared = [a for a in fewer if any(_akin(a, b) for b in more)]
            if len(shared) < self.settings.min_shared * len(fewer):
                return f"other things: {', '.join(sorted(fewer - set(shared)))[:60]}"
            lost = [a for a in en if not any(_akin(a, b) for b in zh)]
            added = [b for b in zh if not any(_akin(a, b) for a in en)]
            if lost and added and len(en) == len(zh):
                return f"{lost[0]} became {added[0]}"
        colours = {c.lower() for c in _EN_COLOUR.findall(words.plain(english))}
        plain = words.plain(chinese)
        had = {c for c in colours if any(z in plain for z in COLOURS[c])}
        others = [c for c, zh_names in COLOURS.items() if c not in colours
                  and any(f"{z}色" in plain for z in zh_names)]  # fmt: skip
        gone = colours - had - {"orange"}
        if gone and [o for o in others if COLOURS[o] not in {COLOURS[c] for c in had}]:
            return f"{min(gone)} became another colour"
        return None

    def _size(self, english: str, chinese: str) -> str | None:
        count = len(re.findall(r"[A-Za-z0-9]+(?:['’-]\w+)*", english))
        size = len(re.findall(rf"[{words.HAN}]|[A-Za-z]+|\d+", chinese))
        low, high = self.settings.min_ratio, self.settings.max_ratio
        if count < self.settings.min_words:
            low, high = low / 2, high * 2
        if not count or not size:
            return None if count == size else "an empty side"
        return None if low <= size / count <= high else f"{size} characters for {count} words"


def _akin(one: str, other: str) -> bool:
    return concepts.is_a(one, other) or concepts.is_a(other, one)


def _marks(before: str, after: str) -> str | None:
    """Placeholders, boxes, lines and list marks that must be the same."""
    found = [Counter(words.PLACEHOLDER.findall(t)) for t in (before, after)]
    if found[0] != found[1]:
        return "other placeholders"
    boxes = [sorted(box for _, box in quoted(text)) for text in (before, after)]
    if boxes[0] != boxes[1]:
        return "other boxes"
    if len(before.strip().split("\n")) != len(after.strip().split("\n")):
        return "other lines"
    return None


def _numbers(english: str, chinese: str) -> str | None:
    """Digits and counted numerals of one side that the other one lacks."""
    english, chinese = (words.BOX.sub(" ", words.normal(t)) for t in (english, chinese))
    english, chinese = (words.PLACEHOLDER.sub(" ", t) for t in (english, chinese))
    en = {_value(v) for v in _EN_VALUE.findall(english)}
    en_only = {str(k) for k, m in enumerate(_MONTHS, 1) if re.search(rf"\b{m}\b", english, re.I)}
    zh_all = {_value(v) for v in re.findall(r"\d+(?:[.,]\d+)*", chinese)}
    zh_all |= {
        str(words.zh_number(v)) for v in re.findall(r"[零一二三四五六七八九十百两]+", chinese)
    }
    zh_all |= {str(words.zh_number(c)) for c in "二三四五六七八九十两俩仨双对" if c in chinese}
    if "双" in chinese or "对" in chinese:
        zh_all.add("2")
    for value in sorted(en - {"1", "0", "None"} - zh_all):
        # 12 hours and 24 hours, 1,000 and 千, dozens: left to people.
        if value not in ("100", "12") or re.search(rf"(?<!\d){value}(?!\d)", english):
            return f"the number {value} is missing"
    digits = {_value(v) for v in re.findall(r"(?<![\d.])\d+(?:[.,]\d+)*", chinese)}
    counted = {str(words.zh_number(v)) for v in _MEASURED.findall(chinese)}
    for value in sorted((digits | counted) - {"1", "0", "None"} - en - en_only):
        if value == "2" and _TWO.search(english):
            continue
        return f"the number {value} was added"
    return None


def _value(text: str) -> str:
    number = words.number(text)
    return str(number) if number is not None else text.replace(",", "").rstrip(".")


def _sides(english: str, chinese: str) -> str | None:
    """Left that became right, or the other way round."""
    en = [side for side, _ in _SIDES if re.search(rf"\b{side}\b", english, re.I)]
    zh = [side for side, char in _SIDES if char in chinese.replace("左右", "").replace("右手", "")]
    if len(en) == len(zh) == 1 and en != zh:
        return f"{en[0]} became {zh[0]}"
    return None
