"""Whether a question already lists its options, in English or Chinese.

That the words of an option occur in the question says little: "Which of the 1234 squares is red?"
holds "1" and "2". Listed are options that stand one after the other, each whole, parted by commas,
line breaks or "or"; or each behind its letter or number: "(A) cat (B) dog", "Ａ．猫　Ｂ．狗",
"① cat ② dog". In doubt the answer is no: an option shown twice does less harm than one that is
never shown.
"""

from __future__ import annotations

import functools
import re
import unicodedata
from collections.abc import Sequence

_CIRCLED = re.compile(r"[①-⑳⒈-⒛Ⓐ-ⓩ]")
_MARK = r"(?:[(\[](?:[a-z]|\d{1,2})[)\]]|(?<![0-9a-z])(?:[a-z]|\d{1,2})[.):、](?!\d))"
_OR = r"(?<![a-z])(?:and|or|vs|和|与|與|跟|及|以及|或|或者|或是|还是|還是)(?![a-z])"
_BLANK = r"[\s\"'“”‘’「」『』\[\]-]{0,8}"  # quotes and dashes of a list count as blank
_BETWEEN = (
    rf"{_BLANK}(?:[,、;/|\n•·*]{{1,8}}{_BLANK}(?:{_OR}{_BLANK})?|{_OR}{_BLANK})(?:(?:an?|the) )?"
)


def listed(question: str, choices: Sequence[str]) -> bool:
    """Whether `question` lists all of `choices`, in any order; full-width forms count as plain."""
    options = tuple(sorted({re.sub(rf"^{_MARK}\s*(?=.)", "", _plain(c)) for c in choices}))
    marked, run, one, bare = _patterns(options)
    asked = _plain(question)
    if {m[1] for m in marked.finditer(asked)} >= set(options):
        return True
    # The options may be the marks themselves: "A. cat B. dog", with A and B to choose from.
    if {m[0].strip("()[].:、") for m in bare.finditer(asked)} >= set(options):
        return True
    # One option alone is a word of the question like any other.
    return len(options) > 1 and any(
        set(one.findall(found[0])) >= set(options) for found in run.finditer(asked)
    )


def _plain(text: str) -> str:
    """One form of each letter: no case, no full width; circled letters and digits in brackets."""
    text = _CIRCLED.sub(lambda m: f"({unicodedata.normalize('NFKC', m[0]).rstrip('.')})", text)
    text = unicodedata.normalize("NFKC", text).casefold()
    return re.sub(r"[^\S\n]+", " ", text).strip()


@functools.lru_cache(1024)
def _patterns(options: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    """An option behind its mark; several one after the other; one of them; a mark alone."""
    # The longest first: of "red" and "red car" the first is the beginning of the second.
    words = "|".join(_whole(option) for option in sorted(options, key=len, reverse=True))
    one, item = f"({words})", f"(?:{words})"
    return tuple(
        re.compile(pattern)
        for pattern in (rf"{_MARK}\s*{one}", rf"{item}(?:{_BETWEEN}{item})+", one, _MARK)
    )


def _whole(option: str) -> str:
    """A pattern of whole words and numbers: not the 1 of 1234 or of 2.1. Chinese has no borders."""
    first, last = option[:1], option[-1:]
    before = r"(?<![0-9a-z])" if first.isascii() and first.isalnum() else ""
    before += r"(?<!\d\.)" if first.isdigit() else ""
    after = r"(?![0-9a-z])" if last.isascii() and last.isalnum() else ""
    after += r"(?!\.\d)" if last.isdigit() else ""
    return before + re.escape(option) + after
