"""Predictions to numbers, one function for each kind of benchmark; no model is needed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from zv_jax.data.records.record import Record
from zv_jax.errors import DataError, EnvironmentProblem
from zv_jax.evaluation import metrics
from zv_jax.evaluation.benchmarks import spec
from zv_jax.evaluation.benchmarks.predictions import Prediction
from zv_jax.evaluation.benchmarks.spec import Benchmark
from zv_jax.evaluation.metrics import choices, exact_match, gqa, vizwiz, vqa
from zv_jax.evaluation.metrics.captions import (
    caption_metric,
    caption_protocol,
    caption_scores,
)
from zv_jax.evaluation.metrics.choices import LETTERS
from zv_jax.evaluation.statistics import draws, middle
from zv_jax.evaluation.tasks.base import Measure, per_item

Said = Sequence[Prediction]


@dataclass(frozen=True)
class Scored:
    """Measures, the headline first; for every record what was compared, and whether it is right."""

    measures: tuple[Measure, ...]
    marks: tuple[dict[str, Any], ...]


def score(benchmark: Benchmark, records: Sequence[Record], said: Said) -> Scored:
    """Scores one prediction for every record.

    Raises:
      DataError: a record has no answer to compare with; ValueError: nothing to score.
    """
    if not records or len(records) != len(said):
        raise ValueError(f"{len(said)} predictions for {len(records)} records")
    for record in records:
        if not record.answers and record.answer_index is None:
            raise DataError(
                f"{record.id} has no answer to compare with",
                where=f"{benchmark.dataset}/{benchmark.split}",
                expected="a split whose answers are public",
                fix=f"zv eval submit --benchmark={benchmark.name} writes the server's file",
            )
    return KINDS[benchmark.kind](benchmark, records, said)


def _texts(benchmark: Benchmark, said: Said) -> list[str]:
    return [spec.clean(prediction.text, benchmark.clean) for prediction in said]


def _caption(benchmark: Benchmark, records: Sequence[Record], said: Said) -> Scored:
    texts = _texts(benchmark, said)
    measures = [*_cider(records, texts, benchmark.protocol)]
    if benchmark.lang == "zh":
        try:
            measures += _cider(records, texts, "zh_jieba")[:1]
        except EnvironmentProblem:
            pass  # the second way of counting is an extra
    if benchmark.dataset == "nocaps":
        measures += _domains(records, texts, benchmark.protocol)
    marks = [
        {"compared": text, "score": float(value), "correct": None}
        for text, value in zip(texts, measures[0].values, strict=True)
    ]
    return Scored(tuple(measures), tuple(marks))


def _cider(records: Sequence[Record], texts: Sequence[str], cut: str) -> list[Measure]:
    """CIDEr-D, BLEU-4 and ROUGE-L, each a mean over pictures but BLEU, which is the corpus's."""
    found = caption_scores(
        {r.id: r.answers for r in records},
        {r.id: text for r, text in zip(records, texts, strict=True)},
        cut,
    )
    each = [found["per_item"][r.id] for r in records]
    protocol = caption_protocol(cut)
    return [
        per_item(caption_metric(cut), [100 * row["cider"] for row in each], protocol),
        per_item("rouge_l", [100 * row["rouge_l"] for row in each], protocol),
    ]


def _domains(records: Sequence[Record], texts: Sequence[str], cut: str) -> list[Measure]:
    """NoCaps in its three parts, each with the document frequencies of its own references."""
    measures = []
    for domain in ("in-domain", "near-domain", "out-domain"):
        rows = [i for i, r in enumerate(records) if r.meta.get("question_type") == domain]
        if rows:
            part = _cider([records[i] for i in rows], [texts[i] for i in rows], cut)[0]
            name = f"{part.metric}_{domain}"
            measures.append(Measure(name, part.values, np.array(rows), part.protocol))
    return measures


def _vqa(benchmark: Benchmark, records: Sequence[Record], said: Said) -> Scored:
    texts = _texts(benchmark, said)
    protocols = [benchmark.protocol]
    protocols += ["zh_lenient"] if benchmark.lang == "zh" else ["official", "always"]

    def measure(protocol: str) -> Measure:
        values = [
            100 * metrics.vqa_accuracy(text, record.answers, protocol)
            for text, record in zip(texts, records, strict=True)
        ]
        main = protocol == benchmark.protocol
        name = "vqa_accuracy" if main else f"vqa_accuracy_{protocol}"
        form = f"|{exact_match.PROTOCOL}" if protocol.startswith("zh") else ""
        return per_item(name, values, f"{vqa.VERSION}|{protocol}{form}")

    measures = [measure(protocol) for protocol in dict.fromkeys(protocols)]
    if benchmark.dataset == "vizwiz":
        measures += _unanswerable(records, texts)
    marks = [
        {
            "compared": vqa.compared(text, record.answers, benchmark.protocol)[0],
            "score": float(value),
            "correct": bool(value >= 50),
        }
        for text, record, value in zip(texts, records, measures[0].values, strict=True)
    ]
    return Scored(tuple(measures), tuple(marks))


def _unanswerable(records: Sequence[Record], texts: Sequence[str]) -> list[Measure]:
    """VizWiz' second task, by whether the answer says that there is none."""
    known = [r.meta.get("answerable") for r in records]
    if None in known:
        return []
    said = [float(metrics.vqa_normalize(text) == "unanswerable") for text in texts]
    found = metrics.unanswerable_scores(said, known)
    pairs = np.array([said, known])
    drawn = [metrics.unanswerable_scores(*pairs[:, rows]) for rows in draws(len(records), 0)]
    return [
        Measure(
            f"unanswerable_{name}", np.array([value]), np.zeros(1, int), vizwiz.PROTOCOL,
            whole=middle([row[name] for row in drawn]),
        )
        for name, value in found.items()
    ]  # fmt: skip


def _gqa(benchmark: Benchmark, records: Sequence[Record], said: Said) -> Scored:
    texts = _texts(benchmark, said)
    true = [record.answers[0] for record in records]
    pairs = list(zip(texts, true, strict=True))
    if benchmark.lang == "zh":
        strict, lenient = (
            [exact_match.matches(text, [answer], "zh", level) for text, answer in pairs]
            for level in (False, True)
        )
        measures = [
            per_item("exact_match", strict, f"{exact_match.PROTOCOL}|strict"),
            per_item("exact_match_lenient", lenient, f"{exact_match.PROTOCOL}|lenient"),
            _cider(records, texts, "zh_char")[0],
        ]
    else:
        hits = [gqa.gqa_match(text, answer) for text, answer in pairs]
        measures = [per_item("exact_match", hits, gqa.PROTOCOL)]
        kinds = [record.meta.get("question_type") for record in records]
        for name, wanted in (("open", True), ("binary", False)):
            rows = [i for i, kind in enumerate(kinds) if kind and (kind == "query") is wanted]
            if rows:
                values = measures[0].values[rows]
                part = Measure(f"exact_match_{name}", values, np.array(rows), gqa.PROTOCOL)
                measures.append(part)
    marks = [
        {"compared": text, "score": float(value), "correct": bool(value)}
        for text, value in zip(texts, measures[0].values, strict=True)
    ]
    return Scored(tuple(measures), tuple(marks))


def _choice(benchmark: Benchmark, records: Sequence[Record], said: Said) -> Scored:
    ranked = all(prediction.choice is not None for prediction in said)
    picks = [
        p.choice if p.choice is not None else metrics.parse_choice(p.text, r.choices or ("",))
        for p, r in zip(said, records, strict=True)
    ]
    hits = [pick == r.answer_index for pick, r in zip(picks, records, strict=True)]
    how = f"ranked {benchmark.target}s|{benchmark.protocol}"
    how = how if ranked else f"read from text|{choices.PROTOCOL}"
    measures = [per_item("accuracy", hits, how, picks.count(None))]
    if all(p.permuted for p in said):
        orders = list(zip(*([p.choice, *p.permuted] for p in said), strict=True))
        right = np.mean(
            [[c == r.answer_index for c, r in zip(o, records, strict=True)] for o in orders], 0
        )
        same = [len({p.choice, *p.permuted}) == 1 for p in said]
        count = f"{how}|{len(orders)} orders of the options"
        measures += [
            per_item("accuracy_permuted", list(100.0 * right), count),
            per_item("agreement_permuted", same, count),
        ]
    marks = [
        {
            "compared": "" if pick is None else f"({LETTERS[pick]})",
            "score": 100.0 * hit,
            "correct": hit,
        }
        for pick, hit in zip(picks, hits, strict=True)
    ]
    return Scored(tuple(measures), tuple(marks))


KINDS: dict[str, Callable[[Benchmark, Sequence[Record], Said], Scored]] = {
    "caption": _caption,
    "vqa": _vqa,
    "gqa": _gqa,
    "choice": _choice,
}


def by_record(found: Mapping[str, Prediction], records: Sequence[Record]) -> list[Prediction]:
    """The predictions in the order of the records.

    Raises:
      DataError: a record has none.
    """
    missing = [record.id for record in records if record.id not in found]
    if missing:
        raise DataError(
            f"{len(missing)} of {len(records)} records have no prediction",
            where=f"id {missing[0]!r}",
            expected="a prediction for every record, an empty text where the model gave none",
            fix="score the part you have with --partial; its numbers are named @n",
        )
    return [found[record.id] for record in records]
