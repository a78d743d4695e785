"""The whole of `zv eval judge`: files in, ledger, results.json and reviews.jsonl out."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zv_jax.errors import ConfigError, ServerError
from zv_jax.evaluation.judge import bench as bench_lib
from zv_jax.evaluation.judge import pairs as pairs_lib
from zv_jax.evaluation.judge import report as report_lib
from zv_jax.evaluation.judge import reviews as reviews_lib
from zv_jax.evaluation.judge import run as run_lib
from zv_jax.evaluation.judge.reviews import Review
from zv_jax.files import write_atomic
from zv_jax.llm import batch_files
from zv_jax.llm.endpoint import endpoint_of
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.prices import Budget, Estimate, Prices
from zv_jax.llm.prices import estimate as estimate_of
from zv_jax.progress import progress_bar


def main(
    folder: str | Path,
    lang: str,
    answers: str | Path,
    workdir: str | Path,
    *,
    swap: bool = False,
    against: str | Path = "",
    names: tuple[str, str] = ("the other", "this model"),
    requests_out: str = "",
    replies_in: Sequence[str] = (),
    prices: tuple[float, float] | None = None,
    max_dollars: float | None = None,
    progress: bool = True,
    **endpoint: Any,
) -> dict[str, Any]:
    """Judges answers to LLaVA-bench.

    Args:
      folder: the benchmark's files (`bench.load`); lang: ``"en"`` or ``"zh"``.
      answers: lines with ``question_id`` and ``text``.
      workdir: for ledger.jsonl (kept and continued), reviews.jsonl and results.json.
      swap: judge in both orders.
      against: answers of another model, in whose place those of the benchmark else stand: both are
        rated, in both orders, and the winners counted; cases.md shows every question.
      names: of that model and of this one, in cases.md.
      requests_out: write the open requests there, in the form of a batch, and ask nothing.
      replies_in: files with replies of a batch, taken in first.
      prices: dollars for a million tokens in and out; max_dollars: the most this workdir may cost,
        what it has cost before included. Nothing is begun that may cost more.
      progress: show a bar and print the table.
      endpoint: fields of `zv_jax.llm.endpoint.Endpoint`; the rest comes from ``ZV_JUDGE_*``.

    Returns:
      The contents of results.json; of an export, its estimate.

    Raises:
      DataError: a file is wrong. ConfigError: the endpoint is not known, or it would cost too
      much. ServerError: an answer could not be judged; everything is written all the same.
    """
    workdir = Path(workdir)
    bench = bench_lib.load(folder, lang)
    given, whole = bench_lib.answers(answers, bench), bench
    if against:
        bench, swap = pairs_lib.against(bench, bench_lib.answers(against, bench)), True
        given = {q.id: given[q.id] for q in bench.questions if q.id in given}
    offline = bool(requests_out or replies_in)
    if offline:  # only the model's name is part of a request
        endpoint["url"] = endpoint.get("url") or "http://offline/v1"
    end = endpoint_of("ZV_JUDGE", **endpoint)
    price = None if prices is None else Prices(*prices)
    with Ledger(workdir / "ledger.jsonl", "judge") as ledger:
        for file in replies_in:
            taken = batch_files.read(file, ledger, budget=Budget(None, price))
            _say(progress, f"{file}: {taken.number} replies taken, {len(taken.failures)} failed")
        wanted = reviews_lib.cases(bench, given, swap)
        open_requests = reviews_lib.pending(wanted, lang, end.model, ledger)
        cost = estimate_of(open_requests, price)
        _say(progress, f"{len(wanted)} to judge, {len(ledger)} replies kept; {cost}")
        _check(cost, ledger.receipt.spent, max_dollars)
        if requests_out:
            for written in batch_files.write(open_requests, requests_out):
                _say(progress, f"written: {written}")
            return {"requests": len(open_requests), "estimate": str(cost)}
        if offline:
            reviews = [reviews_lib.review(case, lang, end.model, ledger) for case in wanted]
        else:
            budget = Budget(max_dollars, price)
            with progress_bar(total=len(wanted), desc="judging", disable=not progress) as bar:
                reviews = run_lib.judge(bench, given, end, ledger, budget, swap, bar.update)
    if against:
        text = pairs_lib.cases_page(bench, reviews, names)
        write_atomic(workdir / "cases.md", text.encode())
        results = pairs_lib.report(whole, reviews, end.model)
        return _finish(workdir, results, reviews, pairs_lib.render(results), progress)
    results = report_lib.report(bench, reviews, end.model)
    return _finish(workdir, results, reviews, report_lib.render(results), progress)


def _check(cost: Estimate, spent: float, most: float | None) -> None:
    """Refuses to begin what may cost more than is left."""
    if most is not None and (cost.dollars is None or spent + cost.dollars > most):
        before = f", beside ${spent:.2f} of before" if spent else ""
        raise ConfigError(
            f"judging may cost {cost}{before}",
            where=f"--max_usd={most:g}",
            expected="an estimate within the limit, from --prices=IN,OUT",
            fix="raise --max_usd, or judge fewer answers",
        )


def _finish(
    workdir: Path, results: dict[str, Any], reviews: Sequence[Review], table: str, progress: bool
) -> dict[str, Any]:
    _write(workdir, results, reviews)
    if progress:
        print(table)
    if results["judged"] < results["expected"]:
        raise ServerError(
            f"judged {results['judged']}/{results['expected']}",
            where=str(workdir / "results.json"),
            expected="scores for every answer; what has none is left out of the numbers",
            fix="run the same command again: only what is missing is asked",
        )
    return results


def _write(workdir: Path, results: dict[str, Any], reviews: Sequence[Review]) -> None:
    rows = [
        {
            "question_id": review.case.question.id,
            "category": review.case.question.category,
            "swapped": review.case.swapped,
            "scores": review.scores,
            "reason": review.reason,
            "answer": review.case.answer,
            "content": review.reply,
        }
        for review in reviews
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomic(workdir / "reviews.jsonl", lines.encode())
    text = json.dumps(results, ensure_ascii=False, indent=1) + "\n"
    write_atomic(workdir / "results.json", text.encode())


def _say(progress: bool, text: str) -> None:
    if progress:
        print(text, file=sys.stderr)
