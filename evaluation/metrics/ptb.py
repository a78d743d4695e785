"""English word tokens as the Penn Treebank tokenizer of the COCO caption tools makes them.

The COCO tools call Java's ``PTBTokenizer -preserveLines -lowerCase`` and drop a list of
punctuation tokens. These rules give the same tokens on captions without Java; `VERSION` is part of
every score's protocol, because another tokenizer is another metric.
"""

from __future__ import annotations

import re
import unicodedata

VERSION = "ptb-py-1"

# The brackets of the original list are upper case while its tokens are lower case, so brackets
# stay: part of the metric as everybody reports it.
DROPPED = frozenset(["''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";", ".."])
_BRACKETS = dict(zip("()[]{}", ("-lrb-", "-rrb-", "-lsb-", "-rsb-", "-lcb-", "-rcb-"), strict=True))

_ABBREVIATIONS = (
    "mr mrs ms dr prof st ave rd blvd etc vs jr sr inc ltd co corp dept fig gen gov lt col sgt "
    "capt rev hon mt ft sq ph e.g i.e p.m a.m u.s u.k u.n "
    "jan feb mar apr jun jul aug sep sept oct nov dec ph.d"
).split()
_CHARACTERS = str.maketrans(
    {
        "\u2018": "'", "\u2019": "'", "\u201b": "'", "\u00b4": "'", "\u201c": '"', "\u201d": '"',
        "\u201e": '"', "\u00ab": '"', "\u00bb": '"', "\u2013": " -- ", "\u2014": " -- ",
        "\u2026": " ... ", "\u20ac": "$", "\u00a3": "#", "\u00bd": " 1/2", "\u00bc": " 1/4",
        "\u00be": " 3/4", "\u00a0": " ", "\u200b": "", "\ufe0f": "", "\u00ad": "",
    }
)  # fmt: skip
_LETTER = r"[^\W\d_]"
_TOKEN = re.compile(
    "|".join(
        [
            r"(?P<url>(?:https?://|www\.)[^\s<>\"]*[^\s<>\".,!?;:)\]'])",
            r"(?P<mail>[\w.+-]+@[\w-]+(?:\.[\w-]+)+)",
            r"(?P<tag>[@#][A-Za-z_]\w*)",
            r"(?P<initials>(?<!\w)(?:[A-Za-z]\.){2,})",
            rf"(?P<abbreviation>(?<!\w)(?:{'|'.join(map(re.escape, _ABBREVIATIONS))})\.(?!\w))",
            r"(?P<numero>(?<!\w)no\.(?=\s*\d))",
            r"(?P<initial>(?<![\w.'-])[A-Z]\.(?!\w))",
            r"(?P<decade>(?<!\w)'\d\ds?(?!\w))",
            r"(?P<old>(?<!\w)'(?:tis|twas)\b)",
            r"(?P<clock>\d+:\d+)",
            r"(?P<number>\d+(?:[.,:/]\d+)*(?![\w'/-])|\.\d+(?!\w))",
            r"(?P<number_before_comma>\d+(?:[.,:/]\d+)+)",
            rf"(?P<word>(?:{_LETTER}|\d)+(?:[-/](?:{_LETTER}|\d)+|'{_LETTER}+|_\w+)*'?)",
            r"(?P<ellipsis>\.{2,})",
            r"(?P<dashes>-{2,})",
            r"(?P<run>[!?]+)",
            r"(?P<other>\S)",
        ]
    ),
    re.IGNORECASE,
)
_CLITIC = re.compile(r"(?i)(.+?)(n't|'(?:s|m|d|ll|re|ve))$")
_CONTRACTED = {
    "cannot": ("can", "not"), "gonna": ("gon", "na"), "gotta": ("got", "ta"),
    "lemme": ("lem", "me"), "gimme": ("gim", "me"), "wanna": ("wan", "na"),
    "'tis": ("'t", "is"), "'twas": ("'t", "was"), "y'all": ("y'", "all"),
}  # fmt: skip


def tokenize(text: str) -> list[str]:
    """Lower-cased tokens of one caption, without the dropped punctuation.

    Every kind of line break counts as a space: in the original one such character shifts all later
    captions to the wrong picture.
    """
    text = " ".join(text.splitlines()).translate(_CHARACTERS)
    text = re.sub(r"(\d)\s*\u00a2", r"\1 cents", text)
    tokens: list[str] = []
    for match in _TOKEN.finditer(text):
        tokens.extend(_split(match.group(), match.lastgroup))
    return [token for token in tokens if token not in DROPPED]


def _split(token: str, kind: str | None) -> list[str]:
    lower = token.lower()
    if kind == "initial" and not token[0].isupper():
        return [lower[0], "."]  # IGNORECASE let a small letter in; only a capital is an initial
    if kind == "ellipsis":
        return ["..."]
    if kind == "other":
        # Emoji and other pictographs vanish in the original.
        if unicodedata.category(token) in ("So", "Cn", "Co", "Cs") and token != "\u00b0":
            return []
        return [_BRACKETS.get(token, "''" if token == '"' else lower)]
    if lower in _CONTRACTED:
        return list(_CONTRACTED[lower])
    if kind != "word":
        return [lower]
    tail = []
    while match := _CLITIC.match(lower):
        lower = match.group(1)
        tail.insert(0, match.group(2))
    if lower.endswith("'"):  # a plural's apostrophe or a closing quote
        lower = lower[:-1]
        tail.insert(0, "'")
    return [lower, *tail]
