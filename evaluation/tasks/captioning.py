"""Captions: CIDEr-D against all captions of the picture."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation.metrics import cider
from evaluation.tasks.base import (
    Item,
    Judgement,
    Measure,
    Predictions,
    Task,
    last_answers,
    per_item,
)


def caption_measure(
    items: Sequence[Item], answers: Sequence[str], lang: str, corpus: Sequence[Item]
) -> Measure:
    """CIDEr-D x 100 of the answers, with the document frequencies of the whole corpus."""
    values = cider.caption_scores(
        answers,
        [item.references[-1] for item in items],
        lang,
        corpus=[item.references[-1] for item in corpus],
    )
    return per_item(cider.caption_metric(lang), values, cider.caption_protocol(lang))


class Captioning(Task):
    """One sentence about the picture; every caption of the record is a reference."""

    name = "caption"
    record_task = "caption"
    max_new_tokens = 48

    def judge(
        self, items: Sequence[Item], predictions: Predictions, lang: str, corpus: Sequence[Item]
    ) -> Judgement:
        measure = caption_measure(items, last_answers(predictions), lang, corpus)
        marks = tuple({"correct": None, "score": float(v)} for v in measure.values)
        return Judgement((measure,), marks)
