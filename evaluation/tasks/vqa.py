"""Short questions: exact match, strict and lenient, and the yes/no questions on their own."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zv_jax.evaluation.metrics import exact_match, yes_no
from zv_jax.evaluation.tasks.base import (
    Item,
    Judgement,
    Measure,
    Predictions,
    Task,
    last_answers,
    per_item,
)

YES_NO_METRIC = "yes_no_accuracy"


def exact_measures(
    items: Sequence[Item], answers: Sequence[str], lang: str
) -> tuple[Measure, Measure]:
    """Strict and lenient exact match with the references of the last turn."""

    def measure(name: str, lenient: bool) -> Measure:
        hits = [
            exact_match.matches(answer, item.references[-1], lang, lenient)
            for item, answer in zip(items, answers, strict=True)
        ]
        level = "lenient" if lenient else "strict"
        return per_item(name, hits, f"{exact_match.PROTOCOL}|{level}")

    return measure("exact_match", False), measure("exact_match_lenient", True)


def truth(item: Item) -> bool | None:
    """True or False where yes or no is the true answer, by any of its spellings."""
    lang = item.record.lang
    folded = exact_match.normalise(item.references[-1][0], lang, lenient=True)
    return {"yes": True, "no": False, "是": True, "否": False}.get(folded)


class Vqa(Task):
    """One question, one short answer."""

    name = "vqa"
    record_task = "vqa"
    max_new_tokens = 16

    def judge(
        self, items: Sequence[Item], predictions: Predictions, lang: str, corpus: Sequence[Item]
    ) -> Judgement:
        answers = last_answers(predictions)
        strict, lenient = exact_measures(items, answers, lang)
        measures = [strict, lenient]
        closed = [i for i, item in enumerate(items) if truth(item) is not None]
        if closed:
            said = [yes_no.parse_yes_no(answers[i], lang=lang) for i in closed]
            hits = [s is truth(items[i]) for i, s in zip(closed, said, strict=True)]
            measures.append(
                Measure(
                    YES_NO_METRIC,
                    100.0 * np.array(hits, np.float64),
                    np.array(closed),
                    yes_no.PROTOCOL,
                    said.count(None),
                )
            )
        return Judgement(tuple(measures), tuple({"correct": bool(v)} for v in strict.values))

    def chance(self, items: Sequence[Item]) -> dict[str, float]:
        return {YES_NO_METRIC: 50.0}
