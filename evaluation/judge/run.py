"""`zv eval judge`: asks the judge what is not in the ledger yet, then scores what is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from zv_jax.evaluation.judge import reviews as reviews_lib
from zv_jax.evaluation.judge.bench import Bench
from zv_jax.evaluation.judge.reviews import READINGS, Case, Review
from zv_jax.evaluation.metrics.judged import parse_judge_scores
from zv_jax.llm.client import Client
from zv_jax.llm.endpoint import Endpoint
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.prices import Budget
from zv_jax.llm.request import Failure, Request

Tick = Callable[[int], object]


def judge(
    bench: Bench,
    answers: Mapping[str, str],
    endpoint: Endpoint,
    ledger: Ledger,
    budget: Budget | None = None,
    swap: bool = False,
    tick: Tick = lambda n: None,
) -> list[Review]:
    """Reviews of all answers; what the ledger holds is not asked again.

    A request that fails after all its tries leaves its case unjudged and the others untouched.

    Args:
      bench: the questions. answers: question id -> answer.
      endpoint: the judge.
      ledger: takes every reply the moment it comes. budget: what may be spent.
      swap: judge every answer in both orders.
      tick: called with the number of cases just finished.

    Raises:
      ZvError: as `zv_jax.llm.client.Client.ask_all`: the endpoint refuses every request (wrong key,
        address or model), or the budget is used up.
    """
    wanted = reviews_lib.cases(bench, answers, swap)
    with Client(endpoint, ledger, budget) as client:
        reasons = _ask(wanted, bench.lang, client, tick)
    return [
        reviews_lib.review(case, bench.lang, endpoint.model, ledger, reasons.get(number, ""))
        for number, case in enumerate(wanted)
    ]


def _ask(wanted: Sequence[Case], lang: str, client: Client, tick: Tick) -> dict[int, str]:
    """Asks until each case has a reply that can be read; number of a case -> why it has none."""
    reasons: dict[int, str] = {}
    left = list(range(len(wanted)))

    def requests(reading: int) -> Iterator[tuple[str, Request]]:
        for number in left:
            model = client.endpoint.model
            yield str(number), reviews_lib.request(wanted[number], lang, model, reading)

    for reading in range(READINGS):
        again = []
        for name, outcome in client.ask_all(requests(reading)):
            number = int(name)
            if isinstance(outcome, Failure):
                reasons[number] = outcome.reason
            elif parse_judge_scores(outcome.text) is None and reading + 1 < READINGS:
                again.append(number)
                continue
            tick(1)
        left = again
    return reasons
