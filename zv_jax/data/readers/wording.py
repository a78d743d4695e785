"""Small repairs of published texts: masked names, blanks before punctuation, word-class tags."""

from __future__ import annotations

import re

_MASKS = re.compile(r"<PERSON>|<人名>")
_BEFORE = re.compile(r"\s+([.,!?;:%)\]}…])|\s+('s|n't|'re|'ve|'ll|'d|'m)\b")
_AFTER = re.compile(r"([(\[{])\s+")
_TAGGED = re.compile(r"(\S+)/[a-z]{1,3}(?=\s|$)")


def without_masks(text: str) -> str:
    """The text without the masks that Conceptual 12M and Wukong put in place of names."""
    return " ".join(_MASKS.sub(" ", text).split())


def closed_up(text: str) -> str:
    """The text of Conceptual Captions with punctuation closed up: `a dog , running` has a blank
    before the comma."""
    joined = _BEFORE.sub(lambda match: match[1] or match[2], text)
    return _AFTER.sub(r"\1", " ".join(joined.split()))


def without_tags(text: str) -> str:
    """Chinese text of a copy that was segmented and tagged: `一/m 个/q 人/n` becomes `一个人`.

    A text in which not every word has a tag is returned as it is.
    """
    words = text.split()
    tagged = _TAGGED.findall(text)
    return "".join(tagged) if words and len(tagged) == len(words) else text
