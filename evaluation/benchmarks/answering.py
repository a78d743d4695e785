"""Asks a model: prompts of a benchmark, answers in batches, kept on disk as they come.

A batch holds rows that cost nothing to ask again; whatever is on disk is not asked twice, so an
interrupted run goes on where it stopped and gives the same predictions. Where several processes
share the work, each takes every n-th record.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zv_jax.data.records import rules
from zv_jax.data.records.record import Record
from zv_jax.data.text.dialogue import IMAGE, render_boxes
from zv_jax.evaluation.benchmarks.data import Data
from zv_jax.evaluation.benchmarks.predictions import Log, Prediction
from zv_jax.evaluation.benchmarks.spec import Benchmark
from zv_jax.evaluation.metrics.choices import LETTERS, letter_of
from zv_jax.evaluation.model import Model

Tick = Callable[[int], object]
BOX_DECIMALS = 3


@dataclass(frozen=True)
class Settings:
    """What of a suite concerns asking: rows at once, the longest answer (0: the benchmark's), how
    many more orders of the options are tried, the seed of these."""

    batch_size: int = 64
    max_new_tokens: int = 0
    permutations: int = 0
    seed: int = 0


def decoding(benchmark: Benchmark, settings: Settings) -> dict[str, Any]:
    """How a benchmark's answers are decoded, no longer than the suite allows."""
    found = dict(benchmark.decoding)
    if settings.max_new_tokens:
        longest = min(found["max_new_tokens"], settings.max_new_tokens)
        found["max_new_tokens"] = longest
        found["min_new_tokens"] = min(found.get("min_new_tokens", 0), longest - 1)
    return found


def predict(
    model: Model,
    benchmark: Benchmark,
    data: Data,
    log: Log,
    settings: Settings,
    shard: tuple[int, int] = (0, 1),
    tick: Tick = lambda n: None,
) -> None:
    """Answers what the log does not hold yet, this process's part of it."""
    number, count = shard
    done = log.done()
    todo = [record for record in data.records[number::count] if record.id not in done]
    tick(len(data.records[number::count]) - len(todo))
    for start in range(0, len(todo), settings.batch_size):
        part = todo[start : start + settings.batch_size]
        ask = _choose if benchmark.kind == "choice" else _say
        said = ask(model, benchmark, part, data, settings)
        log.add(zip((record.id for record in part), said, strict=True))
        tick(len(part))


def question(record: Record) -> str:
    """What a record asks, in words, boxes written out: the turns of the user behind the last
    answer, one a line."""
    asked: list[str] = []
    for turn in record.turns:
        asked = [*asked, turn.text] if turn.role == "user" else []
    text = "\n".join(asked or [t.text for t in record.turns if t.role == "user"][-1:])
    return render_boxes(text.replace(IMAGE, "").strip(), record.objects, BOX_DECIMALS)


def context(record: Record) -> str:
    """What a record gives to read before its question, boxes written out; empty for most."""
    return render_boxes(rules.hint(record), record.objects, BOX_DECIMALS)


def prompt(benchmark: Benchmark, record: Record, options: Sequence[str] = ()) -> str:
    """The prompt of a record, its options lettered as in training."""
    where = f"record {record.id}"
    lettered = " ".join(f"({letter_of(i, where)}) {text}" for i, text in enumerate(options))
    parts = {"context": context(record), "question": question(record), "options": lettered}
    return benchmark.prompt.format(**parts).strip()


# The Q-Former reads what the language model reads, as in training and in LAVIS.


def _say(
    model: Model, benchmark: Benchmark, part: Sequence[Record], data: Data, settings: Settings
) -> list[Prediction]:
    prompts = [prompt(benchmark, record) for record in part]
    images = [[data.picture(ref) for ref in record.images] for record in part]
    how = decoding(benchmark, settings)
    return [Prediction(text) for text in model.answer(prompts, images, instructions=prompts, **how)]


def _choose(
    model: Model, benchmark: Benchmark, part: Sequence[Record], data: Data, settings: Settings
) -> list[Prediction]:
    images = [[data.picture(ref) for ref in record.images] for record in part]

    def rank(orders: Sequence[Sequence[int]]) -> list[int]:
        """The options chosen when they stand in these orders, numbered as in the record."""
        rows = [[r.choices[i] for i in order] for r, order in zip(part, orders, strict=True)]
        prompts = [prompt(benchmark, r, row) for r, row in zip(part, rows, strict=True)]
        letters = [[f"({LETTERS[i]})" for i in range(len(row))] for row in rows]
        candidates = letters if benchmark.target == "letter" else rows
        ranked = model.rank(prompts, candidates, images, instructions=prompts)
        return [order[r.best] for r, order in zip(ranked, orders, strict=True)]

    plain = [list(range(len(record.choices))) for record in part]
    first = rank(plain)
    others = []
    for turn in range(settings.permutations):
        orders = []
        for record, order in zip(part, plain, strict=True):
            mixed = list(order)
            random.Random(f"options/{settings.seed}/{turn}/{record.id}").shuffle(mixed)
            orders.append(mixed)
        others.append(rank(orders))
    rows = zip(*others, strict=True) if others else [()] * len(part)
    return [
        Prediction(record.choices[index], index, tuple(row))
        for record, index, row in zip(part, first, rows, strict=True)
    ]
