"""Whether an English and a Chinese answer to one question say the same: by rule, without the truth.

Boxes by their overlap, counts in digits and in number words, yes or no, options by their place,
and names through a bilingual table that the caller brings. What cannot be read is never guessed.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from zv_jax.evaluation.metrics import choices as choices_lib
from zv_jax.evaluation.metrics import exact_match, grounding, yes_no
from zv_jax.evaluation.metrics.grounding import Box
from zv_jax.evaluation.metrics.reply import numbers, plain

KINDS = ("box", "yes_no", "count", "choice", "name")
PROTOCOL = "agreement-1|iou>=0.5|unreadable=no agreement"

SameNames = Callable[[str, str], bool | None]
"""Whether an English and a Chinese answer name the same; None where either names nothing known."""
Read = Box | bool | int | str | None
"""An answer as it is compared; None where it cannot be read."""

_UNITS = "one two three four five six seven eight nine".split()
_TEENS = "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen".split()
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()
_UNIT = "|".join(_UNITS)
_BELOW_100 = rf"(?:{'|'.join(_TENS)})(?:[- ](?:{_UNIT}))?|{'|'.join(_TEENS)}|{_UNIT}|zero"
_EN_WORDS = re.compile(
    rf"\b(?:(?P<hundreds>{_UNIT}|a) hundred(?: (?:and )?(?P<rest>{_BELOW_100}))?"
    rf"|(?P<alone>{_BELOW_100}))\b"
)
_DIGITS = re.compile(r"(?<![\d.,:/~-])\d+(?![\d%‰]|[.,:/~-]\d)")
_EN_NONE = re.compile(r"\b(?:no|none|nothing|not any)\b")
_EN_SINGLE = re.compile(r"\b(?:an?|single|only|just) (?!pair|couple|few|lot|group|number|dozen)\w")
# Words of a sentence that hold a numeral and count nothing.
_ZH_IDLE = re.compile(
    "一共|一起|一些|一样|一下|一般|一直|一定|一点|一边|一侧|一旁|一旦|统一|唯一|之一|万一|进一步"
    "|十分|第[一二三四五六七八九十百\\d]+|[一二两三四五六七八九十]+月"
)
_ZH_VALUES = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_ZH_WORDS = re.compile("[零〇一二两三四五六七八九十百]+|[俩仨]")
_ZH_FORM = re.compile(
    "(?:(?P<hundreds>[一二两三四五六七八九])百)?"
    "(?:零(?=.)|(?P<tens>[一二三四五六七八九]?)(?P<ten>十))?(?P<ones>[零〇一二两三四五六七八九])?"
)
_ZH_NONE = re.compile("没|无|不存在")
_COUNTED = re.compile(
    r"\bhow many\b|\bthe number of\b|\bcount the\b|多少(?!钱)|[有是]几|几[^乎何时]"
)
_CLOSED = re.compile(
    r"^(?:is|are|was|were|do|does|did|can|could|has|have|will)\b(?!.*\bor\b)|吗|是不是|有没有|是否"
)


def kind_of(question: str, truths: Sequence[str], lang: str, options: int = 0) -> str:
    """By which of `KINDS` the answers to a question are compared.

    Args:
      question: its words, in language `lang`; truths: right answers, where they are known.
      options: how many are offered; 0 where the answer is free.
    """
    if options:
        return "choice"
    text = plain(question).lower()
    if truths and grounding.parse_box(truths[0]) is not None:
        return "box"
    if _COUNTED.search(text):
        return "count"
    if truths:
        folded = exact_match.normalise(truths[0], lang, lenient=True)
        return "yes_no" if folded in ("yes", "no", "是", "否") else "name"
    return "yes_no" if _CLOSED.search(text) else "name"


def read(kind: str, text: str, lang: str, options: Sequence[str] = ()) -> Read:
    """An answer as it is compared; None where it says nothing that can be."""
    if kind == "box":
        return grounding.parse_box(text)
    if kind == "yes_no":
        return yes_no.parse_yes_no(text, lang=lang)
    if kind == "count":
        return parse_count(text, lang)
    if kind == "choice":
        return choices_lib.parse_choice(text, options, lang=lang)
    return plain(text) or None


def same(kind: str, english: Read, chinese: Read, same_names: SameNames) -> bool | None:
    """Whether two answers that were `read` agree; None where one of them cannot be read."""
    if english is None or chinese is None:
        return None
    if kind == "box":
        return grounding.hit(english, chinese)  # type: ignore[arg-type]
    if kind != "name":
        return english == chinese
    written = exact_match.normalise(str(english), "en"), exact_match.normalise(str(chinese), "zh")
    if (
        written[0] and written[0].replace(" ", "") == written[1]
    ):  # words of an image, read in both languages
        return True
    return same_names(str(english), str(chinese))


def parse_count(text: str, lang: str) -> int | None:
    """How many a reply says, below a thousand; None where it gives no number, or several.

    "a dog" is one, "none" and 没有 are none; "several" and 几只 are no number.
    """
    text = numbers(plain(text)).lower()
    found = {int(digits) for digits in _DIGITS.findall(text)}
    if lang == "en":
        found |= {_english(match) for match in _EN_WORDS.finditer(text)}
        if not found and _EN_NONE.search(text):
            return 0
        if not found and _EN_SINGLE.search(text):
            return 1
    else:
        text = _ZH_IDLE.sub(" ", text)
        values = [_chinese(word) for word in _ZH_WORDS.findall(text)]
        if None in values:  # 三四只: three or four
            return None
        found |= {value for value in values if value is not None}
        if not found and _ZH_NONE.search(text):
            return 0
    return found.pop() if len(found) == 1 else None


def _english(match: re.Match[str]) -> int:
    hundreds = match["hundreds"]
    value = 0 if hundreds is None else 100 * (_UNITS.index(hundreds) + 1 if hundreds != "a" else 1)
    for word in re.split("[- ]", match["rest"] or match["alone"] or "zero"):
        for words, first, step in ((_UNITS, 1, 1), (_TEENS, 10, 1), (_TENS, 20, 10)):
            if word in words:
                value += first + step * words.index(word)
    return value


def _chinese(word: str) -> int | None:
    if word in "俩仨":
        return 2 + "俩仨".index(word)
    match = _ZH_FORM.fullmatch(word)
    if match is None:
        return None
    value = 100 * _ZH_VALUES[match["hundreds"]] if match["hundreds"] else 0
    if match["ten"]:
        value += 10 * (_ZH_VALUES[match["tens"]] if match["tens"] else 1)
    return value + (_ZH_VALUES[match["ones"]] if match["ones"] else 0)
