"""Yes/no questions: reading the reply in English and Chinese, and the usual four numbers.

Yes is the positive class. A reply that is neither is wrong and counted, never guessed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

PROTOCOL = "yes-no-1|first-marker|unreadable=wrong"

_EN = re.compile(r"\b(?:(?P<no>no|not|nope|never|false|none)|(?P<yes>yes|yeah|yep|true))\b|n't\b")
_ZH = re.compile(r"(?P<no>不|没|否|无)|(?P<yes>是|有|对)")


def parse(text: str, lang: str) -> str | None:
    """``"yes"``, ``"no"`` or None: what the first word that says either of them says.

    In Chinese 不是 and 没有 are no, 是 and 有 are yes.
    """
    text = unicodedata.normalize("NFKC", text).lower().replace("\u2019", "'")
    match = (_ZH if lang == "zh" else _EN).search(text)
    if match is None:
        return None
    return "yes" if match.group("yes") else "no"


def scores(predicted: Sequence[str | None], true: Sequence[str]) -> dict[str, float]:
    """Accuracy, precision, recall, F1 and the shares of yes and of unreadable replies, in 0..1.

    Raises:
      ValueError: the lists are empty or of different length.
    """
    if not true or len(predicted) != len(true):
        raise ValueError(f"{len(predicted)} replies to {len(true)} questions")
    pairs = list(zip(predicted, true, strict=True))
    right_yes = sum(p == t == "yes" for p, t in pairs)
    said_yes = sum(p == "yes" for p in predicted)
    are_yes = sum(t == "yes" for t in true)
    precision = right_yes / said_yes if said_yes else 0.0
    recall = right_yes / are_yes if are_yes else 0.0
    total = precision + recall
    return {
        "accuracy": sum(p == t for p, t in pairs) / len(pairs),
        "precision": precision,
        "recall": recall,
        "f1": 2 * precision * recall / total if total else 0.0,
        "yes_share": said_yes / len(pairs),
        "unreadable": sum(p is None for p in predicted) / len(pairs),
    }
