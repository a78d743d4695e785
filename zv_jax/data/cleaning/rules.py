"""Cheap rules, in the order of their cost: the text, the flags of the source, the image.

The steps are those that published pipelines share (LAION, Wukong, Qwen-VL); every limit is a field
of `Rules`.
"""

from __future__ import annotations

import collections
import dataclasses
import html
import re
from dataclasses import dataclass

from zv_jax.data.records.record import Record
from zv_jax.data.text import language
from zv_jax.errors import ConfigError, unknown_name

_TAG = re.compile(r"</?[A-Za-z!][^<>]{0,200}>")
_URL = re.compile(r"(?:https?://|www\.)[^\s\u3000-\u9fff]+|\S+@\S+\.\S+", re.IGNORECASE)
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0f\u200d\U000e0020-\U000e007f]"
)
_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True)
class Rules:
    """Limits of a pair; a text's length counts words in English, characters in Chinese."""

    min_words: int = 2
    max_words: int = 100
    min_chars: int = 4
    max_chars: int = 200
    min_letters: float = 0.5  # share of the characters that are no blanks
    max_repeat: float = 0.5  # share of the most frequent word or character pair
    max_unsafe: float = 0.5  # meta.punsafe, where the source gives it
    max_watermark: float = 0.8  # meta.pwatermark, likewise
    min_side: int = 200  # pixels of the shorter side
    max_aspect: float = 3.0


def parse(words: list[str]) -> Rules:
    """Rules with the fields `NAME=VALUE` changed.

    Raises:
      ConfigError: a name or a value is wrong.
    """
    kinds = {f.name: type(f.default) for f in dataclasses.fields(Rules)}
    changed = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in kinds:
            raise unknown_name(
                "rule", name, kinds, "--rules", fix="--rules=min_side=100,max_aspect=4"
            )
        try:
            changed[name] = kinds[name](value)
        except ValueError:
            raise ConfigError(
                f"{name} is {value!r}", where="--rules", expected=f"a {kinds[name].__name__}"
            ) from None
    return Rules(**changed)


def clean(text: str) -> str:
    """The text without markup, addresses and emoji, white space of any length as one blank."""
    text = _TAG.sub(" ", html.unescape(text))
    text = _EMOJI.sub(" ", _URL.sub(" ", text))
    return " ".join(text.split())


def text_fault(text: str, lang: str, rules: Rules) -> str | None:
    """Why a cleaned text is no caption in `lang`, or None."""
    if lang in ("en", "zh") and text and language.of(text) != lang:
        return "language"
    units = text.split() if lang == "en" else [c for c in text if not c.isspace()]
    least, most = (
        (rules.min_words, rules.max_words) if lang == "en" else (rules.min_chars, rules.max_chars)
    )
    if len(units) < least:
        return "short"
    if len(units) > most:
        return "long"
    solid = [c for c in text if not c.isspace()]
    if sum(bool(_LETTER.match(c)) for c in solid) < rules.min_letters * len(solid):
        return "letters"
    parts = units if lang == "en" else [a + b for a, b in zip(units, units[1:], strict=False)]
    if len(parts) >= 4 and max(collections.Counter(parts).values()) > rules.max_repeat * len(parts):
        return "repeats"
    return None


def flag_fault(record: Record, rules: Rules) -> str | None:
    """Why the flags of its source speak against a record, or None."""
    for field, most in (("punsafe", rules.max_unsafe), ("pwatermark", rules.max_watermark)):
        value = record.meta.get(field)
        if isinstance(value, int | float) and value > most:
            return field.removeprefix("p")
    return None


def size_fault(width: int, height: int, rules: Rules) -> str | None:
    """Why an image of this size is unfit, or None."""
    if min(width, height) < rules.min_side:
        return "small"
    if max(width, height) > rules.max_aspect * min(width, height):
        return "aspect"
    return None


def clean_record(record: Record, rules: Rules) -> tuple[Record | None, str | None]:
    """The record with its answers cleaned, or None and the rule that left none of them.

    Records without answers (dialogues) pass: their texts were written for the image.
    """
    fault = flag_fault(record, rules)
    if fault or not record.answers:
        return (None, fault) if fault else (record, None)
    kept, weights, first = [], [], None
    for place, answer in enumerate(record.answers):
        text = clean(answer)
        fault = text_fault(text, record.lang, rules)
        if fault is None:
            kept.append(text)
            weights.append(record.weights[place] if record.weights else 1.0)
        first = first or fault
    if not kept:
        return None, first
    own = tuple(weights) if record.weights else None
    return dataclasses.replace(record, answers=tuple(kept), weights=own), None
