"""Captions: CIDEr-D against all captions of the picture."""

from __future__ import annotations

from collections.abc import Sequence

from zv_jax.evaluation.metrics.captions import (
    caption_metric,
    caption_protocol,
    caption_scores,
)
from zv_jax.evaluation.tasks.base import (
    Item,
    Judgement,
    Measure,
    Predictions,
    Task,
    last_answers,
    per_item,
)

TOKENIZER = {"en": "ptb", "zh": "zh_char"}


def caption_measure(
    items: Sequence[Item], answers: Sequence[str], lang: str, corpus: Sequence[Item]
) -> Measure:
    """CIDEr-D x 100 of the answers, with the document frequencies of the whole corpus."""
    cut = TOKENIZER[lang]
    scores = caption_scores(
        {item.id: item.references[-1] for item in items},
        {item.id: answer for item, answer in zip(items, answers, strict=True)},
        cut,
        corpus={item.id: item.references[-1] for item in corpus},
    )
    values = [100.0 * scores["per_item"][item.id]["cider"] for item in items]
    return per_item(caption_metric(cut), values, caption_protocol(cut))


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
