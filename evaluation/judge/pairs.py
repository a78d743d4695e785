"""Two models against each other: the judge rates both answers, in both orders (paper, Table 8).

The second model stands in the place of the reference, so requests, ledger and reading of replies
are those of `reviews`. A question is won by the model that has the higher rating in both orders.
One rated equal in both is a tie; where the orders name different winners, or a winner and a tie,
the judge went by the place and nobody wins: such questions are counted on their own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from zv_jax.evaluation.judge.bench import CATEGORIES, Bench
from zv_jax.evaluation.judge.reviews import MAX_TOKENS, TEMPERATURE, Review
from zv_jax.evaluation.metrics import judged as judged_lib
from zv_jax.evaluation.results import Measure, entry, per_item
from zv_jax.tables import align, rule

OUTCOMES = ("win", "loss", "tie", "orders_disagree")
_SAID = {
    "win": "wins",
    "loss": "losses",
    "tie": "ties",
    "orders_disagree": "orders disagree",
}


@dataclass(frozen=True)
class Pair:
    """A question that was judged in both orders.

    Attributes:
      given, swapped: ratings (other model, own model) of the order in which the other one's answer
        stands first, and of that in which it stands second.
    """

    id: str
    category: str
    given: tuple[float, float]
    swapped: tuple[float, float]

    @property
    def outcome(self) -> str:
        """One of `OUTCOMES`, of the own model."""
        signs = {float(np.sign(own - other)) for other, own in (self.given, self.swapped)}
        if len(signs) > 1:
            return "orders_disagree"
        return {1.0: "win", -1.0: "loss", 0.0: "tie"}[signs.pop()]

    @property
    def ratings(self) -> tuple[float, float]:
        """Mean ratings (other, own) of both orders."""
        other, own = np.mean([self.given, self.swapped], 0)
        return float(other), float(own)


def against(bench: Bench, answers: Mapping[str, str]) -> Bench:
    """The benchmark with another model's answers in the place of the references; questions that it
    has not answered are left out."""
    questions = (q for q in bench.questions if q.id in answers)
    return replace(bench, questions=tuple(replace(q, reference=answers[q.id]) for q in questions))


def pairs(reviews: Sequence[Review]) -> list[Pair]:
    """The questions that have ratings in both orders."""
    turned = {r.case.question.id: r.scores for r in reviews if r.case.swapped and r.scores}
    return [
        Pair(r.case.question.id, r.case.question.category, r.scores, turned[r.case.question.id])
        for r in reviews
        if not r.case.swapped and r.scores and r.case.question.id in turned
    ]


def report(bench: Bench, reviews: Sequence[Review], model: str) -> dict[str, Any]:
    """The contents of results.json.

    Args:
      bench: with all questions. reviews: of those that both models have answered.
      model: the judge's name.

    Returns:
      ``scores`` of the own model: of every outcome the share of questions, and the mean ratings of
      both, for each category and for all; ``outcomes``: their counts; ``judged`` and failures,
      which are in no number.
    """
    found = pairs(reviews)
    protocol = (
        f"{judged_lib.PROTOCOL}|judge={model}|rule={bench.rules}|pairs|order=both|"
        f"temperature={TEMPERATURE}|max_tokens={MAX_TOKENS}"
    )
    failed = [r for r in reviews if r.scores is None]
    parts = {"": found} | {kind: [p for p in found if p.category == kind] for kind in CATEGORIES}
    sizes = {"": len(bench.questions)} | Counter(question.category for question in bench.questions)
    return {
        "task": "llava_bench_pairs",
        "lang": bench.lang,
        "judge": model,
        "judged": len(found),
        "expected": len(bench.questions),
        "failures": dict(sorted(Counter(r.reason for r in failed).items())),
        "failed": [
            {"id": r.case.question.id, "swapped": r.case.swapped, "reason": r.reason}
            for r in failed
        ],
        "outcomes": {
            kind or "all": {name: sum(p.outcome == name for p in part) for name in OUTCOMES}
            for kind, part in parts.items()
        },
        "scores": [
            _entry(part, measure, bench.lang, sizes[kind], protocol)
            for kind, part in parts.items()
            if part
            for measure in _measures(kind, part)
        ],
    }


def _measures(kind: str, part: Sequence[Pair]) -> Iterator[Measure]:
    tail = f"_{kind}" if kind else ""
    for name in OUTCOMES:
        yield per_item(f"{name}{tail}", [p.outcome == name for p in part], "")
    for name, place in (("rating", 1), ("rating_of_the_other", 0)):
        yield per_item(f"{name}{tail}", [p.ratings[place] for p in part], "")


def _entry(
    part: Sequence[Pair], measure: Measure, lang: str, expected: int, protocol: str
) -> dict[str, Any]:
    if len(part) < expected:
        measure = replace(measure, metric=f"{measure.metric}@{len(part)}")
    ids = [p.id for p in part]
    return entry(
        "llava_bench_pairs", lang, measure, protocol=protocol, expected=expected, ids=ids,
        controls={}, control_n={}, seed=0,
    )  # fmt: skip


def render(results: Mapping[str, Any]) -> str:
    """The table for the terminal: a row for each category."""
    values = {s["metric"].partition("@")[0]: s["value"] for s in results["scores"]}
    head = [f"LLaVA-bench, {results['lang']}", *_SAID.values(), "rating", "of the other"]
    rows = [head]
    for kind, counts in results["outcomes"].items():
        tail = "" if kind == "all" else f"_{kind}"
        ratings = [values.get(f"{name}{tail}") for name in ("rating", "rating_of_the_other")]
        said = ["-" if value is None else f"{value:.2f}" for value in ratings]
        rows.append([kind, *map(str, counts.values()), *said])
    lines = align(rows, "lr")
    lines.insert(1, rule(lines))
    lines += ["", f"judge {results['judge']}: both orders of {results['judged']} questions of "
              f"{results['expected']}"]  # fmt: skip
    for reason, count in results["failures"].items():
        lines.append(f"not scored: {count} x {reason}")
    return "\n".join(lines)


def cases_page(bench: Bench, reviews: Sequence[Review], names: tuple[str, str]) -> str:
    """Every question with both answers, their ratings in both orders and why, in Markdown, as the
    paper prints one of them; `names` are of the other model and of the own one."""
    by: dict[str, dict[bool, Review]] = {}
    for review in reviews:
        by.setdefault(review.case.question.id, {})[review.case.swapped] = review
    blocks = []
    for question in bench.questions:
        orders = by.get(question.id)
        if not orders:
            continue
        answers = (question.reference, next(iter(orders.values())).case.answer)
        lines = [
            f"### {question.id} ({question.category}, {question.image})",
            "",
            question.text,
            "",
        ]
        lines += [f"- **{n}**: {_inline(a)}" for n, a in zip(names, answers, strict=True)]
        for swapped, review in sorted(orders.items()):
            first, second = names[::-1] if swapped else names
            if review.scores is None:
                lines.append(f"- {first} before {second}: not scored, {review.reason}")
                continue
            rated = ", ".join(f"{n} {s:g}" for n, s in zip(names, review.scores, strict=True))
            why = _inline(review.reply.partition("\n")[2])
            lines.append(f"- {first} before {second}: {rated}. {why}".rstrip())
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks) + "\n"


def _inline(text: str) -> str:
    return " ".join(text.split())
