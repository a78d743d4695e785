"""Multiple choice: the option the answer names, by its letter or by its words."""

from __future__ import annotations

from collections.abc import Sequence

from zv_jax.data.records.record import Record
from zv_jax.evaluation.metrics import choices as choices_lib
from zv_jax.evaluation.metrics.choices import letter_of, parse_choice
from zv_jax.evaluation.tasks.base import (
    Item,
    Judgement,
    Predictions,
    Task,
    last_answers,
    per_item,
)

PROTOCOL = f"generated|{choices_lib.PROTOCOL}"


class MultipleChoice(Task):
    """A question with lettered options; the record's `answer_index` is the right one."""

    name = "mc_vqa"
    record_task = "mc_vqa"
    stages = ("stage2",)
    max_new_tokens = 16

    def item(self, record: Record, box_decimals: int) -> Item:
        letter_of(len(record.choices or ("",)) - 1, f"record {record.id}")
        return super().item(record, box_decimals)

    def judge(
        self, items: Sequence[Item], predictions: Predictions, lang: str, corpus: Sequence[Item]
    ) -> Judgement:
        picks = [
            parse_choice(answer, item.record.choices or ("",), lang=lang)
            for item, answer in zip(items, last_answers(predictions), strict=True)
        ]
        hits = [p == item.record.answer_index for p, item in zip(picks, items, strict=True)]
        measure = per_item("accuracy", hits, PROTOCOL, picks.count(None))
        return Judgement(
            (measure,), tuple({"correct": h, "chosen": p} for h, p in zip(hits, picks, strict=True))
        )

    def frequent_key(self, item: Item, turn: int) -> str:
        # The words of options differ from question to question; their position can be counted.
        return f"({letter_of(item.record.answer_index or 0, f'record {item.id}')})"

    def chance(self, items: Sequence[Item]) -> dict[str, float]:
        return {"accuracy": sum(100.0 / len(i.record.choices or (1,)) for i in items) / len(items)}
