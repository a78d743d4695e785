"""What all readers of a model's reply share: its plain form, without the reasoning before it."""

from __future__ import annotations

import re
import unicodedata

from zv_jax.evaluation.metrics.traditional import simplified

HAN = re.compile("[\u4e00-\u9fff]")

_REASONING = re.compile(r"<(think|thinking|reasoning)>.*?(?:</\1>|\Z)", re.DOTALL | re.IGNORECASE)
# Some chat formats open the block in the prompt: the reply then only ends it.
_UNOPENED = re.compile(r"\A.*</(?:think|thinking|reasoning)>", re.DOTALL | re.IGNORECASE)
_SENTENCE_END = re.compile(r"([.!?。\n吗])")
# A number written in parts: 1,000 (one number), 7 – 8 and 1 / 2 (one mark between two).
_THOUSANDS = re.compile(r"(?<![\d.])(\d{1,3}(?:,\d{3})+)(?![\d]|,\d)")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—―−", "-") | {"〜": "~", "∕": "/", "⁄": "/"})
_PARTS = re.compile(r"(?<=\d)(?:\s*([-/~])\s*(?=\d)|\s+([%‰]))")


def plain(text: str) -> str:
    """A reply without its reasoning block, NFKC, in simplified characters.

    Case is kept. A reasoning block that never ends leaves nothing: there is no answer yet.
    """
    text = _UNOPENED.sub("", _REASONING.sub(" ", text))
    text = simplified(unicodedata.normalize("NFKC", text))
    return text.replace("\u2019", "'").replace("\u2018", "'").strip()


def numbers(text: str) -> str:
    """An NFKC text with its numbers in one form: 1,000 is 1000, and 1 / 2, 7 – 8 or 50 % are
    1/2, 7-8 and 50%."""
    text = _THOUSANDS.sub(lambda m: m[1].replace(",", ""), text.translate(_DASHES))
    return _PARTS.sub(r"\1\2", text)


def without_questions(text: str) -> str:
    """A plain reply without the questions it repeats: "Is it a dog? No." answers No."""
    pieces = _SENTENCE_END.split(text)  # a sentence, its end, a sentence, ...
    pairs = zip(pieces[::2], [*pieces[1::2], ""], strict=True)
    return "".join(sentence + end for sentence, end in pairs if end not in ("?", "吗"))
