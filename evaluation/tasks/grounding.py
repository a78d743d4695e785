"""Words to box: Acc@0.5 of the first box in the answer."""

from __future__ import annotations

from collections.abc import Sequence

from zv_jax.data.text.dialogue import box_text
from zv_jax.evaluation.metrics import grounding
from zv_jax.evaluation.tasks.base import (
    Item,
    Judgement,
    Predictions,
    Task,
    last_answers,
    per_item,
)

FREQUENT_DECIMALS = 1  # two boxes count as the same answer where they agree this far


class Grounding(Task):
    """Where a thing is, as `[x1,y1,x2,y2]`."""

    name = "grounding"
    record_task = "ref_ground"
    max_new_tokens = 40

    def judge(
        self, items: Sequence[Item], predictions: Predictions, lang: str, corpus: Sequence[Item]
    ) -> Judgement:
        found = [grounding.parse_box(answer) for answer in last_answers(predictions)]
        true = [item.record.objects[0].box for item in items]
        overlap = [
            0.0 if f is None else grounding.box_iou(f, t) for f, t in zip(found, true, strict=True)
        ]
        hits = [grounding.hit(f, t) for f, t in zip(found, true, strict=True)]
        unreadable = found.count(None)
        measures = (
            per_item("acc@0.5", hits, grounding.PROTOCOL, unreadable),
            per_item("mean_iou", [100.0 * o for o in overlap], grounding.PROTOCOL, unreadable),
        )
        marks = tuple(
            {"correct": h, "box_true": list(t), "box_pred": None if f is None else list(f)}
            for h, t, f in zip(hits, true, found, strict=True)
        )
        return Judgement(measures, marks)

    def frequent_key(self, item: Item, turn: int) -> str:
        return box_text(item.record.objects[0].box, FREQUENT_DECIMALS)
