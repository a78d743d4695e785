"""The same questions through a batch service: ``/v1/files`` and ``/v1/batches``, at half the price.

What a batch has answered is kept however it ends; what it has not, because it expired, is sent
again. The ledger notes a batch before it is made, and the service holds the same mark, so that a
process that was killed finds it again instead of paying for another one.
"""

from __future__ import annotations

import asyncio
import json
import logging
import uuid
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from zv_jax.errors import ServerError
from zv_jax.llm import batch_files
from zv_jax.llm.connection import Connection, TryFailed
from zv_jax.llm.endpoint import Endpoint
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.prices import Budget
from zv_jax.llm.request import Failure, Reply, Request
from zv_jax.llm.retries import retrying

_ENDED = ("completed", "failed", "expired", "cancelled")
_LARGEST = 1 << 30  # bytes of a file of replies
_SMALL = 1 << 20  # bytes of any other answer
_SLOW = 3600.0  # seconds a file may take to travel
_MARK = "zv_mark"

_log = logging.getLogger(__name__)


@dataclass
class _Part:
    """Rows that travel as one file.

    Attributes:
        failures: of rows that the service has called wrong.
        mark: of the batch that is under way, "" where there is none; batch: the service's id.
        most: dollars that it may cost.
        keys: prompt pack -> keys of its requests.
    """

    rows: list[tuple[str, Request]] = field(default_factory=list)
    failures: dict[str, Failure] = field(default_factory=dict)
    mark: str = ""
    batch: str = ""
    most: float = 0.0
    keys: dict[str, list[str]] = field(default_factory=dict)

    @property
    def packs(self) -> dict[str, str]:
        return {key: pack for pack, keys in self.keys.items() for key in keys}


class Batches:
    """Asks through a batch service; use it as ``with Batches(endpoint, ledger) as batches``.

    Args:
        endpoint: where. ledger: takes every reply. budget: as for a `Client`.
        share: what a batch pays of the price.
        poll: seconds between looks at a batch. ahead: batches under way at once.
        rounds: how often what a batch left open is sent again.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        ledger: Ledger,
        budget: Budget | None = None,
        share: float = 0.5,
        poll: float = 30.0,
        ahead: int = 4,
        rounds: int = 5,
    ):
        self.endpoint, self.ledger, self.budget = endpoint, ledger, budget or Budget()
        self.budget.spent = ledger.receipt.spent
        self.share, self.poll, self.ahead, self.rounds = share, poll, ahead, rounds
        self._under_way: dict[str, str] = {}
        self._runner = asyncio.Runner()

    def __enter__(self) -> Batches:
        self._http = self._runner.run(Connection(self.endpoint).__aenter__())
        return self

    def __exit__(self, *error: object) -> None:
        self._runner.run(self._http.__aexit__(None, None, None))
        self._runner.close()

    def ask_all(
        self, requests: Iterable[tuple[str, Request]]
    ) -> Iterator[tuple[str, Reply | Failure]]:
        """Yields (id, outcome) for each (id, request), in the order of the input.

        Rows are read a few files ahead. An interruption leaves the batches where they are: run
        again, and their replies are fetched.

        Raises:
            ZvError: as `Client.ask_all`; also where the service does not accept a file.
        """
        for entry in list(self.ledger.receipt.batches.values()):
            self._adopt(entry)
        window: deque[_Part] = deque()
        for rows in batch_files.parts(requests):
            part = _Part(rows)
            most = sum(self.budget.most(request, self.share) for request in self._missing(part))
            while window and (len(window) == self.ahead or not self.budget.fits(most)):
                yield from self._outcomes(window.popleft())
            self._begin(part)
            window.append(part)
        while window:
            yield from self._outcomes(window.popleft())

    def _adopt(self, entry: dict[str, Any]) -> None:
        """Finishes a batch that an earlier process made."""
        part = _Part(mark=entry["mark"], most=entry["most"], keys=entry["keys"])
        part.batch = entry.get("batch") or self._run(self._again(lambda: self._find(part.mark)))
        self.budget.put_aside(part.most)
        self._finish(part)

    def _missing(self, part: _Part) -> list[Request]:
        """Requests without an outcome that are in no batch under way, each once."""
        found = {r.key: r for _, r in part.rows if r.key not in part.failures | self._under_way}
        return [request for key, request in found.items() if self.ledger.get(key) is None]

    def _begin(self, part: _Part) -> None:
        """Makes a batch of what is missing, if anything is."""
        missing = self._missing(part)
        if not missing:
            return
        part.most = sum(self.budget.most(request, self.share) for request in missing)
        if not self.budget.fits(part.most):
            raise self.budget.reached(part.most)
        part.mark, part.keys = uuid.uuid4().hex, {}
        for request in missing:
            part.keys.setdefault(request.pack, []).append(request.key)
        self._note(part, "made", keys=part.keys)
        self.budget.put_aside(part.most)
        self._under_way |= part.packs
        part.batch = self._run(self._create(part, missing))
        self._note(part, "created", batch=part.batch, keys=part.keys)

    def _note(self, part: _Part, state: str, **more: Any) -> None:
        entry = {"kind": "batch", "mark": part.mark, "state": state, "most": part.most}
        self.ledger.add([entry | more])

    def _outcomes(self, part: _Part) -> Iterator[tuple[str, Reply | Failure]]:
        """Waits for a part, sends again what it left open, and yields its rows."""
        for turn in range(self.rounds):
            if part.mark:
                self._finish(part)
            if turn + 1 < self.rounds:
                self._begin(part)
            if not part.mark:
                break
        for name, request in part.rows:
            reply = self.ledger.get(request.key)
            yield name, reply or part.failures.get(request.key) or Failure("expired")

    def _finish(self, part: _Part) -> None:
        """Takes what a batch has to give, however it ended."""
        batch = self._run(self._ended(part.batch)) if part.batch else {"status": "cancelled"}
        taken = 0
        for name in ("output_file_id", "error_file_id"):
            if batch.get(name):
                taken += self._take(part, batch[name])
        self.budget.settle(part.most, 0.0)
        self._note(part, "ended")
        for key in part.packs:
            self._under_way.pop(key, None)
        part.mark = ""
        if batch["status"] == "failed" and not taken:
            raise ServerError(
                f"the service refused a batch: {ascii(batch.get('errors'))[:300]}",
                where=f"{self.endpoint.place}, batch {part.batch}",
                expected="a service that takes files of requests for this model",
            )

    def _take(self, part: _Part, file: str) -> int:
        content = self._run(self._call("GET", f"/files/{file}/content", _LARGEST, _SLOW))
        lines = (
            (f"file {file} of the service, line {number}", line)
            for number, line in enumerate(content.split(b"\n"), 1)
            if line.strip()
        )
        found = batch_files.take(
            lines, part.batch, self.ledger, part.packs, self.budget, self.share
        )
        part.failures |= {key: fail for key, fail in found.failures.items() if _final(fail)}
        return found.number

    def _run(self, work: Any) -> Any:
        try:
            return self._runner.run(work)
        except TryFailed as failed:
            raise ServerError(
                f"the batch service does not answer: {failed}",
                where=self.endpoint.place,
                expected="/files and /batches as OpenAI has them",
                fix="run again: batches go on by themselves, and their replies are fetched",
            ) from failed

    async def _create(self, part: _Part, missing: list[Request]) -> str:
        """The id of the batch of a part: of the one that is there, else of a new one."""
        content = b"".join(map(batch_files.line, missing))
        file = ("requests.jsonl", content, "application/jsonl")
        uploaded: list[str] = []

        tried = False

        async def attempt() -> str:
            nonlocal tried
            found = await self._find(part.mark) if tried else None
            if found:
                return found
            tried = True
            if not uploaded:
                answer = await self._http.send(
                    "POST", "/files", _SMALL, _SLOW, data={"purpose": "batch"}, files={"file": file}
                )
                uploaded.append(_field(answer, "id"))
            body = {
                "input_file_id": uploaded[0],
                "endpoint": "/v1/chat/completions",
                "completion_window": "24h",
                "metadata": {_MARK: part.mark},
            }
            return _field(await self._http.send("POST", "/batches", _SMALL, json=body), "id")

        return await self._again(attempt)

    async def _find(self, mark: str) -> str | None:
        """The batch with this mark, if the service has one."""
        after = ""
        while True:
            path = "/batches?limit=100" + (f"&after={after}" if after else "")
            page = _object(await self._http.send("GET", path, _LARGEST))
            rows = page.get("data") or []
            for row in rows:
                if (row.get("metadata") or {}).get(_MARK) == mark:
                    return str(row["id"])
            if not page.get("has_more") or not rows:
                return None
            after = rows[-1]["id"]

    async def _ended(self, batch: str) -> dict[str, Any]:
        """What the service says of a batch that has ended, as soon as it has."""
        while True:
            state = _object(await self._call("GET", f"/batches/{batch}", _SMALL))
            if state.get("status") in _ENDED:
                return state
            _log.info("batch %s: %s %s", batch, state.get("status"), state.get("request_counts"))
            await asyncio.sleep(self.poll)

    async def _call(
        self, method: str, path: str, largest: int, timeout: float | None = None
    ) -> bytes:
        return await self._again(lambda: self._http.send(method, path, largest, timeout))

    async def _again(self, attempt: Any) -> Any:
        failed = 0

        def enough(error: TryFailed) -> bool:
            nonlocal failed
            failed += 1
            return failed >= self.endpoint.tries

        async def once() -> Any:
            return await attempt()

        return await retrying(self.endpoint, enough)(once)


def _final(failure: Failure) -> bool:
    """Whether sending a row again cannot help: the service said that the row is wrong."""
    return failure.reason.startswith("http:4") and failure.reason not in ("http:408", "http:429")


def _object(content: bytes) -> dict[str, Any]:
    try:
        value = json.loads(content)
        if not isinstance(value, dict):
            raise ValueError("no object")
        return value
    except (ValueError, RecursionError) as error:
        raise TryFailed("garbage", str(error), again=True) from error


def _field(content: bytes, name: str) -> str:
    value = _object(content).get(name)
    if not isinstance(value, str):
        raise TryFailed("garbage", f"no {name}", again=True)
    return value
