"""Dialogues: several turns about one or more pictures, the model's own answers as their history."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from zv_jax.evaluation.metrics import exact_match, grounding
from zv_jax.evaluation.tasks.base import (
    Item,
    Judgement,
    Measure,
    Predictions,
    Task,
    per_item,
)

PROTOCOL = f"own-history|{exact_match.PROTOCOL}|strict|box-turns:iou>=0.5"


def turn_is_right(answer: str, references: Sequence[str], lang: str) -> bool:
    """Exact match, or enough overlap where the true answer is a box."""
    true = grounding.parse_box(references[0])
    if true is not None:
        return grounding.hit(grounding.parse_box(answer), true)
    return exact_match.matches(answer, references, lang)


class Dialogue(Task):
    """Every turn is asked in order and judged; later turns lean on the words before them."""

    name = "conversation"
    record_task = "conversation"
    stages = ("stage2",)
    max_new_tokens = 40

    def judge(
        self, items: Sequence[Item], predictions: Predictions, lang: str, corpus: Sequence[Item]
    ) -> Judgement:
        right = [
            [turn_is_right(a, refs, lang) for a, refs in zip(answers, item.references, strict=True)]
            for item, answers in zip(items, predictions, strict=True)
        ]
        unread = sum(
            grounding.parse_box(refs[0]) is not None and grounding.parse_box(a) is None
            for item, answers in zip(items, predictions, strict=True)
            for a, refs in zip(answers, item.references, strict=True)
        )
        owners = np.repeat(np.arange(len(items)), [len(turns) for turns in right])
        values = 100.0 * np.array([hit for turns in right for hit in turns], np.float64)
        whole = [all(turns) for turns in right]
        measures = (
            Measure("turn_accuracy", values, owners, PROTOCOL, unread),
            per_item("dialogue_accuracy", whole, PROTOCOL),
        )
        marks = tuple({"correct": w, "turns_correct": t} for w, t in zip(whole, right, strict=True))
        return Judgement(measures, marks)
