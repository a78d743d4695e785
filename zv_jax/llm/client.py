"""A language model behind somebody's chat endpoint: any server that speaks OpenAI's protocol.

Every request is given every chance: what may go better later (time-outs, broken connections, 408,
409, 429, 5xx, replies that are no completion) is tried again after exponential waits, or after as
long as the server asks for; what will not (400, refusals, ...) ends at once. What no request can
mend (a wrong key or address, a used-up budget, a full disk) ends the run with one error. A reply is
in the ledger, on the disk, before it is handed out; what is there is never sent again.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Coroutine, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from zv_jax.errors import ConfigError, ServerError, ZvError
from zv_jax.llm import prices as prices_lib
from zv_jax.llm.connection import Connection, TryFailed
from zv_jax.llm.endpoint import Endpoint
from zv_jax.llm.ledger import Ledger
from zv_jax.llm.limits import Limits
from zv_jax.llm.prices import Budget
from zv_jax.llm.reply import reply_of
from zv_jax.llm.request import Failure, Reply, Request
from zv_jax.llm.retries import retrying
from zv_jax.llm.writer import Writer

Outcome = Reply | Failure
_NO_FORMAT = ("http:400", "http:422")  # how servers decline a response_format

_log = logging.getLogger(__name__)


class Client:
    """Asks an endpoint; use it as ``with Client(endpoint, ledger) as client``.

    The connections live in a thread of their own, so that they go on while whoever asks is busy.

    Args:
        endpoint: where, and how much.
        ledger: takes every reply, and answers what it holds.
        budget: what may be spent, with what the ledger has spent already; None for no limit.

    Raises:
        ConfigError: a batch of the ledger is under way, so that requests could be paid for twice.

    Attributes:
        look_ahead: how many rows `ask_all` reads before the first of them is answered.
        tries: requests sent, repetitions included.
    """

    def __init__(self, endpoint: Endpoint, ledger: Ledger, budget: Budget | None = None):
        if ledger.receipt.batches:
            raise ConfigError(
                "a batch of this ledger is under way at a batch service",
                where=str(ledger.path),
                expected="its replies first: what it asks would be paid for twice",
                fix="run again through the batch service; then without",
            )
        self.endpoint, self.ledger, self.budget = endpoint, ledger, budget or Budget()
        self.budget.spent = ledger.receipt.spent
        self.look_ahead = max(64, 8 * endpoint.concurrency)
        self._desk = Desk(endpoint, ledger, self.budget)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def tries(self) -> int:
        return self._desk.tries

    def __enter__(self) -> Client:
        self._thread.start()
        self._run(self._desk.open()).result()
        return self

    def __exit__(self, *error: object) -> None:
        try:
            self._run(self._desk.withdraw()).result()
        finally:  # interrupted once more: what is under way is lost
            self._run(self._desk.close()).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    async def ask(self, request: Request) -> Outcome:
        """The outcome of one request, from any event loop.

        Raises:
            ZvError: as `ask_all`.
        """
        return await asyncio.wrap_future(self._begin(request))

    def ask_all(self, requests: Iterable[tuple[str, Request]]) -> Iterator[tuple[str, Outcome]]:
        """Yields (id, outcome) for each (id, request), in the order of the input.

        `requests` is read `look_ahead` rows ahead at most, so that memory does not grow with it;
        a row that takes very long holds up those behind it no earlier than that. Requests of one
        key are sent once. Closing the iterator early, or an interruption, sends nothing more and
        waits for the replies that are under way: they are paid for, and go to the ledger.

        Raises:
            ZvError: no further request can succeed, or may be sent: wrong key or address, a budget
                that is used up, a full disk. What was answered is in the ledger: run again.
        """
        source, window = iter(requests), deque[tuple[str, str, concurrent.futures.Future]]()
        try:
            while self._fill(window, source):
                name, _, outcome = window[0]
                found = outcome.result()
                window.popleft()
                yield name, found
        finally:
            keys = [key for _, key, outcome in window if not outcome.done()]
            if keys and self._thread.is_alive():
                _log.info("waiting for replies that are under way")
                self._run(self._desk.withdraw(keys)).result()

    def _fill(self, window: deque, source: Iterator[tuple[str, Request]]) -> bool:
        """Begins requests: two while the first has its outcome, else as many as there may be."""
        begun = 0
        while len(window) < self.look_ahead and not (begun > 1 and window[0][2].done()):
            row = next(source, None)
            if row is None:
                break
            window.append((row[0], row[1].key, self._begin(row[1])))
            begun += 1
        return bool(window)

    def _begin(self, request: Request) -> concurrent.futures.Future[Outcome]:
        kept = self.ledger.get(request.key)
        if kept is None:
            return self._run(self._desk.ask(request))
        ready: concurrent.futures.Future[Outcome] = concurrent.futures.Future()
        ready.set_result(kept)
        return ready

    def _run(self, work: Coroutine[Any, Any, Any]) -> concurrent.futures.Future[Any]:
        return asyncio.run_coroutine_threadsafe(work, self._loop)


@dataclass(eq=False)
class _Flight:
    """A request on its way: what it may cost, what it needs, and how far it is."""

    request: Request
    most: float
    tokens: int
    plain: bool = False  # without a response_format
    asked: bool = False
    busy: bool = False  # being sent, paid or written down: not to be taken back
    failed: int = 0
    task: asyncio.Task[Outcome] | None = None

    def entry(self, kind: str, **more: Any) -> dict[str, Any]:
        """An entry of the ledger about it."""
        return {"kind": kind, "key": self.request.key, "pack": self.request.pack, **more}

    @property
    def body(self) -> dict[str, Any]:
        """What is sent."""
        left_out = ("response_format",) if self.plain else ()
        return {k: v for k, v in self.request.body.items() if k not in left_out}


class Withdrawn(Exception):
    """A request that was not sent after all."""


class Desk:
    """What a `Client` does within its event loop: sends, waits, repeats, pays and writes down."""

    def __init__(self, endpoint: Endpoint, ledger: Ledger, budget: Budget):
        self.endpoint, self.ledger, self.budget, self.tries = endpoint, ledger, budget, 0
        self._flights: dict[str, _Flight] = {}
        self._over: ZvError | None = None  # why nothing can be sent any more
        self._plain = False  # whether the server knows no response_format
        self._reached = False  # whether anything ever answered
        self._exhausted = 0  # requests that used up their tries since the last reply
        self._throttled_since: float | None = None

    async def open(self) -> None:
        """Gets ready; nothing is sent."""
        self._limits, self._writer = Limits(self.endpoint), Writer(self.ledger)
        self._http = await Connection(self.endpoint).__aenter__()

    async def close(self) -> None:
        """Cuts off what is under way, and the connections."""
        tasks = [flight.task for flight in self._flights.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._writer.idle()
        await self._http.__aexit__(None, None, None)

    async def ask(self, request: Request) -> Outcome:
        """The outcome of a request; one that is under way already is shared."""
        if self._over is not None:
            raise self._over
        flight = self._flights.get(request.key)
        if flight is None:
            kept = self.ledger.get(request.key)
            if kept is not None:
                return kept
            flight = self._start(request)
        return await asyncio.shield(flight.task)

    async def withdraw(self, keys: Iterable[str] | None = None) -> None:
        """Takes back what is not sent, and waits for the replies to what is."""
        keys = list(self._flights) if keys is None else keys
        flights = [self._flights[key] for key in keys if key in self._flights]
        for flight in flights:
            if not flight.busy:
                flight.task.cancel()
        await asyncio.gather(*(flight.task for flight in flights), return_exceptions=True)

    def _start(self, request: Request) -> _Flight:
        tokens = prices_lib.expected(request) + (prices_lib.max_tokens(request) or 0)
        flight = _Flight(request, self.budget.most(request), tokens)
        self._flights[request.key] = flight
        flight.task = asyncio.create_task(self._fly(flight))
        flight.task.add_done_callback(lambda task: self._landed(request.key, task))
        return flight

    def _landed(self, key: str, task: asyncio.Task[Outcome]) -> None:
        del self._flights[key]
        if not task.cancelled():
            task.exception()  # seen, also where nobody waits for it any more

    async def _fly(self, flight: _Flight) -> Outcome:
        try:
            return reply_of(await self._answer(flight))
        except TryFailed as failed:
            await self._gave_up(flight, failed)
            return Failure(failed.reason, failed.detail)
        except asyncio.CancelledError:
            await self._take_back(flight)
            if self._over is not None:
                raise self._over from None
            raise Withdrawn from None
        except ZvError as error:
            self._end(error)
            await self._take_back(flight)
            raise

    async def _take_back(self, flight: _Flight) -> None:
        """Notes that nothing is under way for a request: its earlier tries are accounted for."""
        if flight.asked and not flight.busy:
            with contextlib.suppress(ZvError):
                await self._writer.add(flight.entry("withdrawn"))

    async def _answer(self, flight: _Flight) -> dict[str, Any]:
        """Tries until there is a completion, without a response_format where there is none."""
        try:
            return await self._tries(flight)
        except TryFailed as failed:
            asked = "response_format" in flight.request.parameters and not flight.plain
            if not asked or failed.reason not in _NO_FORMAT:
                raise
            flight.plain = True
            return await self._tries(flight)

    async def _tries(self, flight: _Flight) -> dict[str, Any]:
        def enough(failed: TryFailed) -> bool:
            return self._enough(flight, failed)

        return await retrying(self.endpoint, enough)(self._try, flight)

    def _enough(self, flight: _Flight, failed: TryFailed) -> bool:
        """Whether a request has had its tries. One too many at a time costs none of them."""
        if not failed.throttled:
            return flight.failed >= self.endpoint.tries
        now = time.monotonic()
        self._throttled_since = self._throttled_since or now
        return now - self._throttled_since > self.endpoint.patience

    async def _try(self, flight: _Flight) -> dict[str, Any]:
        try:
            async with self._limits.place(flight.tokens) as turn:
                raw = await self._send(flight, turn)
            await self._writer.add(self._answered(flight, raw))
            return raw
        finally:
            flight.busy = False

    async def _send(self, flight: _Flight, turn: int) -> dict[str, Any]:
        """One request to the server, its money put aside before and settled after."""
        await self.budget.reserve(flight.most)
        paid = flight.most  # until the server has said something
        try:
            if not flight.asked:
                self.ledger.add([flight.entry("asked", most=flight.most)], sync=False)
                flight.asked = True
            flight.busy, flight.plain = True, flight.plain or self._plain
            self.tries += 1
            raw = await self._http.complete(flight.body)
            paid = self._paid(flight, raw)
        except TryFailed as failed:
            paid = self._note(flight, failed, turn)
            raise
        except asyncio.CancelledError:
            with contextlib.suppress(ZvError):
                self.ledger.add([flight.entry("lost", reason="cut off", most=paid)], sync=False)
            raise
        except ZvError:
            paid = 0.0
            raise
        finally:
            self.budget.settle(flight.most, paid)
        # Known now, not once the reply is on the disk: others are about to be sent.
        self._plain = self._plain or flight.plain
        self._went_well(flight, raw)
        return raw

    def _paid(self, flight: _Flight, raw: dict[str, Any]) -> float:
        """Dollars for a reply; as many as it could cost where the server counts no tokens."""
        usage = raw.get("usage")
        tokens = prices_lib.counted(usage if isinstance(usage, dict) else {})
        return self.budget.price(usage) if tokens.given or tokens.made else flight.most

    def _answered(self, flight: _Flight, raw: dict[str, Any]) -> dict[str, Any]:
        facts: dict[str, Any] = {"time": int(time.time()), "usd": self._paid(flight, raw)}
        if flight.plain and "response_format" in flight.request.parameters:
            facts["without"] = ["response_format"]
        return flight.entry("answered", **facts, raw=raw)

    def _went_well(self, flight: _Flight, raw: dict[str, Any]) -> None:
        tokens = prices_lib.counted(raw.get("usage") or {})
        self._limits.went_well(flight.tokens, tokens.given + tokens.made)
        self._reached, self._exhausted, self._throttled_since = True, 0, None

    def _note(self, flight: _Flight, failed: TryFailed, turn: int) -> float:
        """Writes down what a failed try may have cost; gives the dollars."""
        self._reached = self._reached or failed.reached
        if failed.hopeless:  # now, before the place is free for the next one
            self._end(self._error("the endpoint refuses every request", failed))
        if failed.after is not None:
            self._limits.hold(failed.after)
        if failed.throttled:
            self._limits.throttled(turn)
        else:
            flight.failed += 1
        if failed.usage is not None:
            usd = self.budget.price(failed.usage)
            entry = flight.entry("spoiled", reason=failed.reason, usd=usd, usage=failed.usage)
        elif failed.charged:
            usd = flight.most
            entry = flight.entry("lost", reason=failed.reason, most=usd)
        else:
            return 0.0
        self.ledger.add([entry], sync=False)
        return usd

    async def _gave_up(self, flight: _Flight, failed: TryFailed) -> None:
        """Notes a request without a reply; ends the run where no other one can have any."""
        flight.busy = True
        await self._writer.add(flight.entry("failed", reason=failed.reason))
        if failed.again and not failed.throttled:
            self._exhausted += 1
        end, what = self.endpoint, ""
        if failed.throttled:
            what = f"for {end.patience:g} s the endpoint has had too many requests"
        elif not self._reached:
            what = "nothing answers at this address"
        elif self._exhausted >= end.give_up:
            what = f"{self._exhausted} requests one after another got no reply"
        if what:
            self._end(self._error(what, failed))
        if self._over is not None and (what or failed.hopeless):
            raise self._over

    def _error(self, what: str, failed: TryFailed) -> ServerError:
        end = self.endpoint
        names = ", ".join(f"{end.prefix}_{name}" for name in ("URL", "MODEL", "KEY"))
        return ServerError(
            f"{what}: {failed}",
            where=f"{end.place}; {'a' if end.key else 'no'} key is sent",
            expected="an endpoint that knows the model and the key, and has time",
            fix=f"set {names}, or wait; then run again: what was answered is kept, and not paid "
            "again",
        )

    def _end(self, error: ZvError) -> None:
        """Sends nothing more; what is under way may finish."""
        if self._over is None:
            self._over = error
            for flight in self._flights.values():
                if not flight.busy and flight.task is not asyncio.current_task():
                    flight.task.cancel()
