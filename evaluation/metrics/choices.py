"""Reading which option of a multiple-choice question a reply names, in English and Chinese."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from evaluation.metrics import exact_match

PROTOCOL = "letter-or-words-2|unreadable=wrong"
LETTERS = "abcdefghij"

_HAN = re.compile("[\u4e00-\u9fff]")
_LEADING = re.compile(r"\(?([a-j])(?:[).:,、。:]+|$)\s*(.*)", re.DOTALL)
_SAID_SO = re.compile(
    r"(?:\b(?:the\s+)?(?:correct\s+|right\s+)?(?:answer|option|choice)(?:\s+is|\s*:)\s*(?:option\s+)?"
    r"|(?:正确)?(?:答案|选项)(?:应该)?(?:是|为|:)*\s*(?:选项)?|应?选择?\s*(?:选项)?)"
    r"\(?([a-j])\)?(?![a-z])"
)
# LLaVA's own evaluation of ScienceQA.
_LLAVA = re.compile(r"The answer is ([A-Z]).")


def parse_choice(
    text: str, choices: Sequence[str], protocol: str = "tolerant", lang: str | None = None
) -> int | None:
    """Index of the option a reply names, or None; never a guess.

    A leading letter such as ``(b)``, ``b`` or ``B.`` names an option, so does a statement ("The
    answer is B", "答案是B"), so do the words of an option, and so does the only option that occurs
    in the reply. A letter with the words of another option names none, and neither do two letters.

    Args:
      text: the reply.
      choices: the options in order, at most ten.
      protocol: ``"tolerant"``, or ``"llava"`` for what LLaVA's script reads: a bare capital
        letter, a leading ``B. `` or one single "The answer is B.".
      lang: ``"en"`` or ``"zh"``, how words are compared; by default Chinese where the reply or an
        option has a Chinese character.

    Raises:
      ValueError: unknown protocol, no choice, or more than ten.
    """
    if protocol not in ("tolerant", "llava"):
        raise ValueError(f"protocol {protocol!r} is neither tolerant nor llava")
    if not 0 < len(choices) <= len(LETTERS):
        raise ValueError(f"{len(choices)} choices; from 1 to {len(LETTERS)} have a letter")
    if protocol == "llava":
        return _llava(text, len(choices))
    lang = lang or ("zh" if _HAN.search(text + "".join(choices)) else "en")
    text = unicodedata.normalize("NFKC", text).strip().strip("*\"'“”").strip().lower()
    options = [exact_match.normalise(choice, lang) for choice in choices]
    by_letter, words = None, text
    leading = _LEADING.fullmatch(text)
    if leading and LETTERS.index(leading.group(1)) < len(choices):
        by_letter, words = LETTERS.index(leading.group(1)), leading.group(2)
    said = exact_match.normalise(words, lang)
    exact = options.index(said) if options.count(said) == 1 else None
    if by_letter is not None:
        return by_letter if exact in (None, by_letter) else None
    if exact is not None:
        return exact
    stated = {LETTERS.index(m) for m in _SAID_SO.findall(text)}
    if stated:
        index = stated.pop()
        return index if not stated and index < len(choices) else None
    inside = [i for i, option in enumerate(options) if option and _occurs(option, said, lang)]
    return inside[0] if len(inside) == 1 else None


def _occurs(option: str, said: str, lang: str) -> bool:
    return option in said if lang == "zh" else f" {option} " in f" {said} "


def _llava(text: str, count: int) -> int | None:
    letters = LETTERS.upper()[:count]
    if text and text in letters and len(text) == 1:
        return letters.index(text)
    if len(text) >= 3 and text[0] in letters and text[1:3] == ". ":
        return letters.index(text[0])
    stated = _LLAVA.findall(text)
    if len(stated) == 1 and stated[0] in letters:
        return letters.index(stated[0])
    return None
