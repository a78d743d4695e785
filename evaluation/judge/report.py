"""Reviews to numbers, in the form of every other result of an evaluation.

Cases without scores are left out, never averaged in; then the metric's name ends in ``@n`` and the
command fails. `relative` is the ratio over all questions together, which papers call the average;
`relative_mean` is the mean of the categories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from zv_jax.evaluation import statistics
from zv_jax.evaluation.judge.bench import CATEGORIES, Bench
from zv_jax.evaluation.judge.reviews import MAX_TOKENS, TEMPERATURE, Review
from zv_jax.evaluation.metrics import judged as judged_lib
from zv_jax.evaluation.results import ids_hash
from zv_jax.tables import align, rule

ORDERS = ("given", "swapped", "both")


def report(bench: Bench, reviews: Sequence[Review], model: str, seed: int = 0) -> dict[str, Any]:
    """The contents of results.json: ``scores`` (one entry a metric), ``judged`` and failures.

    With reviews in both orders, every number also exists for the swapped order and for both: there
    the two reviews of a question are averaged, and questions that lack one of them are left out.
    """
    given = [r for r in reviews if not r.case.swapped]
    swapped = [r for r in reviews if r.case.swapped]
    orders = {"given": _rows(given)}
    if swapped:
        orders |= {"swapped": _rows(swapped), "both": _both(given, swapped)}
    expected = len(bench.questions)
    scores = []
    for order, rows in orders.items():
        protocol = (
            f"{judged_lib.PROTOCOL}|judge={model}|rule={bench.rules}|order={order}|"
            f"temperature={TEMPERATURE}|max_tokens={MAX_TOKENS}"
        )
        scores += _scores(rows, bench, order, protocol, expected, seed)
    failed = [r for r in reviews if r.scores is None]
    missing = len(reviews) // len({r.case.swapped for r in reviews} or {0})
    return {
        "task": "llava_bench",
        "lang": bench.lang,
        "judge": model,
        "judged": sum(r.scores is not None for r in reviews),
        "expected": expected * (2 if swapped else 1),
        "unanswered": expected - missing,
        "failures": dict(sorted(Counter(r.reason for r in failed).items())),
        "failed": [
            {"id": r.case.question.id, "swapped": r.case.swapped, "reason": r.reason}
            for r in failed
        ],
        "same_winner": _same_winner(given, swapped) if swapped else None,
        "scores": scores,
    }


def render(results: dict[str, Any]) -> str:
    """The table for the terminal."""
    rows = [(f"LLaVA-bench, {results['lang']}", "score", "95 % interval", "n")]
    for entry in results["scores"]:
        low, high = entry["interval"]
        rows.append(
            (
                entry["metric"],
                f"{entry['value']:.1f}",
                f"[{low:.1f}, {high:.1f}]",
                f"{entry['n']}/{entry['items_expected']}",
            )
        )
    lines = align(rows, "lr")
    lines.insert(1, rule(lines))
    lines += ["", f"judge {results['judge']}: judged {results['judged']}/{results['expected']}"]
    if results["same_winner"] is not None:
        lines.append(f"the same winner in both orders: {results['same_winner']:.0f} %")
    for reason, count in results["failures"].items():
        lines.append(f"not scored: {count} x {reason}")
    if results["unanswered"]:
        lines.append(f"without an answer: {results['unanswered']}")
    return "\n".join(lines)


Row = tuple[str, str, tuple[float, float]]  # id, category, scores


def _rows(reviews: Sequence[Review]) -> list[Row]:
    return [
        (r.case.question.id, r.case.question.category, r.scores)
        for r in reviews
        if r.scores is not None
    ]


def _both(given: Sequence[Review], swapped: Sequence[Review]) -> list[Row]:
    turned = {number: scores for number, _, scores in _rows(swapped)}
    return [
        (number, kind, tuple((a + b) / 2 for a, b in zip(scores, turned[number], strict=True)))
        for number, kind, scores in _rows(given)
        if number in turned
    ]


def _same_winner(given: Sequence[Review], swapped: Sequence[Review]) -> float | None:
    turned = {number: scores for number, _, scores in _rows(swapped)}
    pairs = [(scores, turned[number]) for number, _, scores in _rows(given) if number in turned]
    if not pairs:
        return None
    same = [np.sign(a[1] - a[0]) == np.sign(b[1] - b[0]) for a, b in pairs]
    return 100.0 * sum(same) / len(same)


def _pairs(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Scores of the model and of the reference, float [N] each."""
    reference, model = np.array([scores for _, _, scores in rows], np.float64).T
    return model, reference


def _scores(
    rows: list[Row], bench: Bench, order: str, protocol: str, expected: int, seed: int
) -> list[dict[str, Any]]:
    relative = judged_lib.relative_scores(
        [{"category": kind, "scores": scores} for _, kind, scores in rows]
    )
    prefix = "relative" if order == "given" else f"relative_{order}"
    entries = []
    for category in (*CATEGORIES, "all", "mean"):
        everything = category not in CATEGORIES
        part = [row for row in rows if everything or row[1] == category]
        of_bench = [q for q in bench.questions if everything or q.category == category]
        if not part:
            continue
        if category == "mean":
            value = judged_lib.mean_of_categories(relative)
            groups = [
                _pairs([r for r in part if r[1] == kind]) for kind in relative if kind != "all"
            ]
        else:
            value, groups = relative[category], [_pairs(part)]
        interval = statistics.ratio_interval(groups, seed)
        name = prefix if category == "all" else f"{prefix}_{category}"
        whole = len(part) == len(of_bench)
        entries.append(
            {
                "task": "llava_bench",
                "lang": bench.lang,
                "metric": name if whole else f"{name}@{len(part)}",
                "value": round(value, 4),
                "n": len(part),
                "interval": [round(v, 4) for v in interval],
                "items": len(part),
                "items_expected": len(of_bench),
                "ids_sha256": ids_hash(number for number, _, _ in part),
                "protocol": protocol,
            }
        )
    return entries
