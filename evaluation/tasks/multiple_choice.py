"""Multiple choice: the option the answer names, by its letter or by its words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from evaluation.metrics import exact_match
from evaluation.tasks.base import Item, Judgement, Predictions, Task, last_answers, per_item

PROTOCOL = "generated|letter-or-words|unreadable=wrong"
LETTERS = "abcdefghij"
_LETTER = re.compile(r"\(?([a-j])(?:[).:,]+|$)\s*(.*)", re.DOTALL)


def chosen(answer: str, choices: Sequence[str], lang: str) -> int | None:
    """Index of the option an answer names, or None; never a guess.

    A leading letter such as ``(b)``, ``b`` or ``b.`` names an option, the words of an option do,
    and so does the only option that occurs in the answer. A letter with the words of another option
    names none.
    """
    text = unicodedata.normalize("NFKC", answer).strip().lower()
    options = [exact_match.normalise(choice, lang) for choice in choices]
    by_letter, words = None, text
    letter = _LETTER.fullmatch(text)
    if letter and LETTERS.index(letter.group(1)) < len(choices):
        by_letter, words = LETTERS.index(letter.group(1)), letter.group(2)
    said = exact_match.normalise(words, lang)
    exact = options.index(said) if options.count(said) == 1 else None
    if by_letter is not None:
        return by_letter if exact in (None, by_letter) else None
    if exact is not None:
        return exact
    inside = [i for i, option in enumerate(options) if option and _occurs(option, said, lang)]
    return inside[0] if len(inside) == 1 else None


def _occurs(option: str, said: str, lang: str) -> bool:
    return option in said if lang == "zh" else f" {option} " in f" {said} "


class MultipleChoice(Task):
    """A question with lettered options; the record's `answer_index` is the right one."""

    name = "mc_vqa"
    record_task = "mc_vqa"
    stages = ("stage2",)
    max_new_tokens = 16

    def judge(
        self, items: Sequence[Item], predictions: Predictions, lang: str, corpus: Sequence[Item]
    ) -> Judgement:
        picks = [
            chosen(answer, item.record.choices or (), lang)
            for item, answer in zip(items, last_answers(predictions), strict=True)
        ]
        hits = [p == item.record.answer_index for p, item in zip(picks, items, strict=True)]
        measure = per_item("accuracy", hits, PROTOCOL, picks.count(None))
        return Judgement(
            (measure,), tuple({"correct": h, "chosen": p} for h, p in zip(hits, picks, strict=True))
        )

    def frequent_key(self, item: Item, turn: int) -> str:
        # The words of options differ from question to question; their position can be counted.
        return f"({LETTERS[item.record.answer_index or 0]})"

    def chance(self, items: Sequence[Item]) -> dict[str, float]:
        return {"accuracy": sum(100.0 / len(i.record.choices or (1,)) for i in items) / len(items)}
