"""`zv eval judge`: asks the judge what is not in the transcript yet, then scores the transcript."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from zv_jax.errors import ServerError
from zv_jax.evaluation.judge import reviews as reviews_lib
from zv_jax.evaluation.judge.bench import Bench
from zv_jax.evaluation.judge.reviews import READINGS, Case, Review
from zv_jax.evaluation.judge.transcript import Transcript, key_of
from zv_jax.evaluation.metrics.judged import parse_judge_scores
from zv_jax.llm.client import ChatClient, Endpoint, RequestFailed

Tick = Callable[[int], object]


def judge(
    bench: Bench,
    answers: Mapping[str, str],
    endpoint: Endpoint,
    transcript: Transcript,
    swap: bool = False,
    tick: Tick = lambda n: None,
) -> list[Review]:
    """Reviews of all answers; what the transcript holds is not asked again.

    A request that fails after all its tries leaves its case unjudged and the others untouched.

    Args:
      bench: the questions. answers: question id -> answer.
      endpoint: the judge.
      transcript: takes every reply the moment it comes.
      swap: judge every answer in both orders.
      tick: called with the number of cases just finished.

    Raises:
      ServerError: the endpoint refuses every request (wrong key, address or model).
    """
    wanted = reviews_lib.cases(bench, answers, swap)
    return asyncio.run(_judge(wanted, bench.lang, endpoint, transcript, tick))


async def _judge(
    wanted: Sequence[Case], lang: str, endpoint: Endpoint, transcript: Transcript, tick: Tick
) -> list[Review]:
    async with ChatClient(endpoint) as client:

        async def one(case: Case) -> Review:
            reason = ""
            try:
                await _ask(case, lang, client, transcript)
            except RequestFailed as failed:
                if failed.hopeless:
                    raise
                reason = failed.reason
            tick(1)
            return reviews_lib.review(case, lang, endpoint.model, transcript, reason)

        try:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(case)) for case in wanted]
        except ExceptionGroup as several:
            failed = several.exceptions[0]
            if not isinstance(failed, RequestFailed):
                raise
            raise ServerError(
                f"the judge refuses every request: {failed}",
                where=f"{endpoint.url}, model {endpoint.model!r}",
                expected="an endpoint that knows the model and the key",
                fix="set ZV_JUDGE_URL, ZV_JUDGE_MODEL and ZV_JUDGE_KEY; what is judged is kept",
            ) from failed
    return [task.result() for task in tasks]


async def _ask(case: Case, lang: str, client: ChatClient, transcript: Transcript) -> None:
    """Gets replies into the transcript until one can be read."""
    for reading in range(READINGS):
        request: dict[str, Any] = reviews_lib.body(case, lang, client.endpoint.model, reading)
        key = key_of(request)
        reply = transcript.get(key)
        if reply is None:
            settings = {k: v for k, v in request.items() if k not in ("model", "messages")}
            answer = await client.complete(request["messages"], **settings)
            reply = answer.text
            transcript.add(
                key,
                reply,
                model=answer.model,
                finish=answer.finish,
                usage=dict(answer.usage),
                question_id=case.question.id,
                swapped=case.swapped,
            )
        if parse_judge_scores(reply) is not None:
            return
