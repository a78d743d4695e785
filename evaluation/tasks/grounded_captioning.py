"""Box to words: what is inside a given box."""

from __future__ import annotations

from collections.abc import Sequence

from zv_jax.evaluation.tasks.base import Item, Judgement, Predictions, Task, last_answers
from zv_jax.evaluation.tasks.captioning import caption_measure
from zv_jax.evaluation.tasks.vqa import exact_measures


class GroundedCaptioning(Task):
    """Names the thing in a box: exact match, and CIDEr-D, which for one word stays below 250."""

    name = "grounded_caption"
    record_task = "ref_caption"
    max_new_tokens = 24

    def judge(
        self, items: Sequence[Item], predictions: Predictions, lang: str, corpus: Sequence[Item]
    ) -> Judgement:
        answers = last_answers(predictions)
        strict, lenient = exact_measures(items, answers, lang)
        wording = caption_measure(items, answers, lang, corpus)
        marks = tuple(
            {"correct": bool(v), "box_true": list(item.record.objects[0].box)}
            for v, item in zip(strict.values, items, strict=True)
        )
        return Judgement((strict, lenient, wording), marks)
