"""Yes/no questions: reading the reply in English and Chinese, and the usual numbers (POPE).

Li et al., Evaluating Object Hallucination in Large Vision-Language Models (EMNLP 2023). Yes is the
positive class. A reply that is neither is wrong and counted, never guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

PROTOCOL = "yes-no-1|first-marker|unreadable=wrong"

_EN = re.compile(r"\b(?:(?P<no>no|not|nope|never|false|none)|(?P<yes>yes|yeah|yep|true))\b|n't\b")
_ZH = re.compile(r"(?P<no>不|没|否|无)|(?P<yes>是|有|对)")
_HAN = re.compile("[\u4e00-\u9fff]")


def parse_yes_no(text: str, protocol: str = "first_marker", lang: str | None = None) -> bool | None:
    """What a reply says, or None where it says neither.

    ``"first_marker"``: the first word that says either of them; in Chinese 不是 and 没有 are no, 是
    and 有 are yes. ``"pope"``: as POPE's script reads English, where everything up to the first
    period without "no" or "not" is a yes, an empty or Chinese reply too.

    Args:
      text: the reply.
      protocol: one of the two above.
      lang: ``"en"`` or ``"zh"``; by default Chinese where the reply has a Chinese character.

    Raises:
      ValueError: unknown protocol.
    """
    if protocol == "pope":
        words = text.partition(".")[0].replace(",", "").split(" ")
        return not {"No", "not", "no"} & set(words)
    if protocol != "first_marker":
        raise ValueError(f"protocol {protocol!r} is neither first_marker nor pope")
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    lang = lang or ("zh" if _HAN.search(text) else "en")
    match = (_ZH if lang == "zh" else _EN).search(text)
    return None if match is None else bool(match.group("yes"))


def yes_no_scores(predicted: Sequence[bool | None], true: Sequence[bool]) -> dict[str, float]:
    """Accuracy, precision, recall, F1 and the shares of yes and of unreadable replies, in 0..1.

    Raises:
      ValueError: the lists are empty or of different length.
    """
    if not true or len(predicted) != len(true):
        raise ValueError(f"{len(predicted)} replies to {len(true)} questions")
    right_yes = sum(p is True and t for p, t in zip(predicted, true, strict=True))
    said_yes = sum(p is True for p in predicted)
    precision = right_yes / said_yes if said_yes else 0.0
    recall = right_yes / sum(true) if any(true) else 0.0
    total = precision + recall
    return {
        "accuracy": sum(p is t for p, t in zip(predicted, true, strict=True)) / len(true),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / total if total else 0.0,
        "yes_share": said_yes / len(true),
        "unreadable": sum(p is None for p in predicted) / len(true),
    }
