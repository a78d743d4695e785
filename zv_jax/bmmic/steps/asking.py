"""Requests of a whole step through one client, and shards as their replies come."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zv_jax.bmmic.config import Server
from zv_jax.bmmic.prompts.pack import Message, Pack
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.errors import ServerError
from zv_jax.llm import structured
from zv_jax.llm.request import Asks, Failure, Reply, Request
from zv_jax.progress import progress_bar

_AGAIN = ("timeout", "connection", "garbage", "http:408", "http:409", "http:425", "http:429")


@dataclass(frozen=True)
class Job:
    """One request, and what becomes of its outcome.

    Attributes:
      id: for errors.
      request: what is asked.
      settle: makes rows of a reply, or of a failure that no repetition mends.
    """

    id: str
    request: Request
    settle: Callable[[Reply | Failure], Sequence[Mapping[str, Any]]]


@dataclass
class _Plan:
    """A shard whose replies are under way."""

    number: int
    jobs: int
    rows: list[Mapping[str, Any]] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def request(
    server: Server, model: str, pack: Pack, messages: Sequence[Message], schema: Mapping[str, Any]
) -> Request:
    """A request to the model, with the form of its reply where the server takes one."""
    parameters: dict[str, Any] = {
        "model": model,
        "temperature": server.temperature,
        "max_tokens": server.max_tokens,
    }
    if server.schema:
        parameters["response_format"] = structured.response_format(pack.name, schema)
    return Request(tuple(messages), parameters, pack=pack.label)


def facts(pack: Pack, asked: Request, outcome: Reply | Failure) -> dict[str, Any]:
    """What every pair says of its making."""
    model = outcome.model if isinstance(outcome, Reply) else ""
    return {
        "pack": pack.label,
        "request": asked.key,
        "model": model or str(asked.parameters["model"]),
    }


def fill(
    client: Asks, out: Shards, plans: Iterable[tuple[int, Iterable[Job]]], unit: str
) -> tuple[int, int]:
    """Asks the jobs of all shards, one stream over all, and writes each shard when it is answered.

    Args:
      plans: (number, jobs) of the shards that are not there yet, in order.
      unit: what a job is called at the progress bar.

    Returns:
      How many requests were answered, and how many failed for good.

    Raises:
      ServerError: some requests had no reply, though they may have one later: their shards are not
        written, and the same command asks for these alone again.
    """
    waiting: deque[_Plan] = deque()
    planned: deque[Job] = deque()

    def stream() -> Iterator[tuple[str, Request]]:
        for number, jobs in plans:
            # All of a shard are known before the first is sent: an empty one is written, too.
            listed = list(jobs)
            waiting.append(_Plan(number, len(listed)))
            for job in listed:
                planned.append(job)
                yield job.id, job.request

    lost: list[str] = []
    answered = hopeless = 0
    with progress_bar(desc=out.folder.name, unit=f" {unit}", smoothing=0.05) as bar:
        for _, outcome in client.ask_all(stream()):
            _write_done(out, waiting, lost)
            job, plan = planned.popleft(), waiting[0]
            plan.jobs -= 1
            bar.update()
            if isinstance(outcome, Failure) and _may_come(outcome):
                plan.failed.append(f"{job.id}: {outcome.reason}")
                continue
            answered += isinstance(outcome, Reply)
            hopeless += isinstance(outcome, Failure)
            plan.rows.extend(job.settle(outcome))
        _write_done(out, waiting, lost)
    if lost:
        raise ServerError(
            f"{len(lost)} requests had no reply",
            where=", ".join(lost[:3]),
            expected="a reply to each",
            fix="run the same command again: what was answered is in the ledger, and only these "
            "are asked",
        )
    return answered, hopeless


def _write_done(out: Shards, waiting: deque[_Plan], lost: list[str]) -> None:
    while waiting and not waiting[0].jobs:
        plan = waiting.popleft()
        lost.extend(plan.failed)
        if not plan.failed:
            out.write(plan.number, plan.rows)


def _may_come(failure: Failure) -> bool:
    return failure.reason in _AGAIN or failure.reason.startswith("http:5")


def chunks(items: Iterable[Any], size: int) -> Iterator[tuple[int, list[Any]]]:
    """(number, items) of shards of `size`."""
    source = iter(items)
    for number in itertools.count():
        chunk = list(itertools.islice(source, size))
        if not chunk:
            return
        yield number, chunk


def mine(numbers: Iterable[int], part: tuple[int, int]) -> list[int]:
    """The shards of worker `part[0]` of `part[1]`."""
    return [number for number in numbers if number % part[1] == part[0]]
