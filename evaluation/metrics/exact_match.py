"""Exact match of short answers in English and Chinese, strict and lenient.

Strict removes what carries no meaning in writing: case, width, script, punctuation, spaces around,
English articles, and the choice between a digit and a number word. What belongs to a number stays:
its sign, its point, a percent sign, and what parts two digits (1/2, 3:30, 1-2). Lenient also folds
spellings of the same reply that a person would accept. Both are reported under their own names.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

from zv_jax.evaluation.metrics.reply import numbers
from zv_jax.evaluation.metrics.traditional import simplified

PROTOCOL = "exact-match-2"

_EN_NUMBERS = {
    word: str(value)
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve".split()
    )
}
_ARTICLES = frozenset(("a", "an", "the"))
_ZH_DIGITS = {c: i for i, c in enumerate("零一二三四五六七八九")} | {"两": 2, "〇": 0}
_ZH_NUMBER = "[零〇一二两三四五六七八九十]+"
_MEASURES = "个只条张本辆朵棵颗块片把件头匹座架艘台支根双顶串碗杯瓶盘种位幅面枚粒滴束部"
_YES = {
    "en": ("yes", "yeah", "yep", "true", "correct"),
    "zh": ("是", "是的", "对", "对的", "有", "有的"),
}
_NO = {
    "en": ("no", "nope", "false", "not"),
    "zh": ("否", "不", "不是", "不是的", "没有", "没", "不对", "无"),
}
_EN_LEAD = re.compile(
    r"^(?:(?:it|they|there|this|that|these|those) (?:is|are) )?(?:(?:in|at|on) )?"
)
_BARE_POINT = re.compile(r"(?<![\w.])\.(?=\d)")  # .5 is 0.5
_LISTED = re.compile(r"(?<=\d)(?:\s*[,、]\s*|\s+)(?=\d)")  # 1, 2 is not 12


def normalise(text: str, lang: str, lenient: bool = False) -> str:
    """The form in which two answers are compared.

    Args:
      text: an answer.
      lang: ``"en"`` or ``"zh"``.
      lenient: also fold yes/no synonyms and, in English, a leading "it is" or preposition; in
        Chinese a measure word behind a number, a final 的 and a leading 在, 有 or 是.
    """
    text = simplified(unicodedata.normalize("NFKC", text)).replace("\u2019", "'").strip().lower()
    text = _LISTED.sub(",", _BARE_POINT.sub("0.", numbers(text)))
    return _chinese(text, lenient) if lang == "zh" else _english(text, lenient)


def _is_punctuation(text: str, at: int) -> bool:
    """Whether a character means nothing: a mark that is no part of a number."""
    if unicodedata.category(text[at])[0] != "P":
        return False
    before, after = text[at - 1 : at] if at else "", text[at + 1 : at + 2]
    if text[at] in "%‰":
        return not before.isdigit()
    # COVID-19 has no sign, -2 and 是-2 have one.
    signed = text[at] == "-" and not (before.isascii() and before.isalnum()) and before != "-"
    return not (after.isdigit() and (before.isdigit() or signed))


def _english(text: str, lenient: bool) -> str:
    text = re.sub(r"(?<!\d)'|'(?!\d)", "", text)
    text = "".join(" " if _is_punctuation(text, i) else c for i, c in enumerate(text))
    words = [_EN_NUMBERS.get(w, w) for w in text.split()]
    # The article of "a dog" goes, the letter of "A" and of "Group A" stays.
    last = len(words) - 1
    text = " ".join(w for i, w in enumerate(words) if i == last or w not in _ARTICLES)
    if not lenient:
        return text
    if text in _YES["en"] or text in _NO["en"]:
        return "yes" if text in _YES["en"] else "no"
    return _EN_LEAD.sub("", text) or text


def _chinese(text: str, lenient: bool) -> str:
    text = "".join("" if c.isspace() or _is_punctuation(text, i) else c for i, c in enumerate(text))
    if lenient:
        if text in _YES["zh"] or text in _NO["zh"]:
            return "是" if text in _YES["zh"] else "否"
        text = re.sub("^[在有是](?=.)", "", text)
        text = re.sub("(?<=.)的$", "", text)
        text = re.sub(rf"^(-?\d+|{_ZH_NUMBER})[{_MEASURES}]$", r"\1", text)
    return str(_zh_value(text)) if re.fullmatch(_ZH_NUMBER, text) else text


def _zh_value(text: str) -> int | str:
    """A number below 100 in characters; anything else comes back as it is."""
    if text in _ZH_DIGITS:
        return _ZH_DIGITS[text]
    match = re.fullmatch("([一二两三四五六七八九]?)十([一二三四五六七八九]?)", text)
    if match is None:
        return text
    tens, ones = match.groups()
    return 10 * (_ZH_DIGITS[tens] if tens else 1) + (_ZH_DIGITS[ones] if ones else 0)


def matches(prediction: str, answers: Iterable[str], lang: str, lenient: bool = False) -> bool:
    """Whether the prediction equals any of the answers after `normalise`; an empty one does not."""
    got = normalise(prediction, lang, lenient)
    return got != "" and any(got == normalise(answer, lang, lenient) for answer in answers)
