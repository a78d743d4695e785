"""Whether an English and a Chinese answer name the same: things, colours, places in an image."""

from __future__ import annotations

import functools
import re

from zv_jax.bmmic.filters import concepts, words
from zv_jax.bmmic.filters.bilingual import COLOURS
from zv_jax.data.openmoji.concepts import load_concepts

_EN_COLOUR = re.compile(rf"\b(?:{'|'.join(COLOURS)})\b")
_ZH_COLOUR = re.compile(
    rf"咖啡色|[{''.join(dict.fromkeys(''.join(COLOURS.values())))}](?=色|的|$|[，。、和与])"
)
_EN_PLACES = {
    "top": "top", "upper": "top", "bottom": "bottom", "lower": "bottom", "left": "left",
    "right": "right", "centre": "centre", "center": "centre", "middle": "centre",
}  # fmt: skip
_EN_PLACE = re.compile(rf"\b(?:{'|'.join(_EN_PLACES)})\b")
_ZH_PLACES = {"上": "top", "下": "bottom", "左": "left", "右": "right", "中": "centre"}
_ZH_PLACE = re.compile("([上下左右中]{1,2})[角边侧方面部]|(中)[间央心]|正(中)")
_ARTICLE = re.compile(r"^(?:an?|the|some)\s+")


def same_names(english: str, chinese: str) -> bool | None:
    """Whether two answers name the same.

    What both speak of is compared: things through the table of names in both languages, where a
    kind of a thing counts as the thing; colours; places. All things of the one must be those of
    the other. Answers that share no subject differ.

    Returns:
      None where an answer names nothing that the tables know.
    """
    ours, theirs = _english(english), _chinese(chinese)
    if not any(ours) or not any(theirs):
        return None
    both = [(a, b) for a, b in zip(ours, theirs, strict=True) if a and b]
    return bool(both) and all(_all_akin(a, b) and _all_akin(b, a) for a, b in both)


def _all_akin(some: frozenset[str], others: frozenset[str]) -> bool:
    return all(any(_akin(one, other) for other in others) for one in some)


def _akin(one: str, other: str) -> bool:
    return concepts.is_a(one, other) or concepts.is_a(other, one)


Named = tuple[frozenset[str], frozenset[str], frozenset[str]]  # things, colours, places


def _english(text: str) -> Named:
    text = words.plain(text).lower().strip(" .!,;:\"'")
    places = frozenset(_EN_PLACES[word] for word in _EN_PLACE.findall(text))
    colours = frozenset(COLOURS[word] for word in _EN_COLOUR.findall(text))
    return _things(text, "en"), colours, places


def _chinese(text: str) -> Named:
    text = words.plain(text).strip(" 。！，；：、.!,;:")
    found = ["".join(groups) for groups in _ZH_PLACE.findall(text)]
    places = frozenset(_ZH_PLACES[char] for group in found for char in group)
    colours = frozenset(
        next(chars for chars in COLOURS.values() if match[0] in chars)
        for match in _ZH_COLOUR.findall(text)
    )
    return _things(text, "zh"), colours, places


def _things(text: str, lang: str) -> frozenset[str]:
    """Concepts of a text; an answer that is nothing but a name may be an unusual one."""
    pattern, keys = _drawn(lang)
    own = {keys[match[0]] for match in pattern.finditer(text)}
    rest = pattern.sub(" ", text)
    found = own | {mention.concept for mention in concepts.mentions(rest, lang)}
    if not found and (whole := concepts.of_label(_ARTICLE.sub("", rest), lang)):
        found = {whole}
    return frozenset(found)


@functools.cache
def _drawn(lang: str) -> tuple[re.Pattern[str], dict[str, str]]:
    """What finds the embedded drawings that the table does not know in both languages, and the
    drawing of each of their names."""
    keys: dict[str, str] = {}
    for one in load_concepts():
        known = concepts.of_label(one.en, "en")
        if known is None or known != concepts.of_label(one.zh, "zh"):
            names = (one.en_plural, one.en) if lang == "en" else (one.zh,)
            keys |= dict.fromkeys(names, one.key)
    body = "|".join(map(re.escape, keys))
    return re.compile(rf"\b(?:{body})\b" if lang == "en" else body), keys
