"""Monitors of a run: skipped updates, hangs, preemption, slow compilation."""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import jax

from zv_jax.errors import TrainingError
from zv_jax.files import write_json
from zv_jax.parallel.distributed import process_log
from zv_jax.training.guards import FINE, NOTHING_TO_LEARN, REASONS
from zv_jax.training.metrics import MetricLog
from zv_jax.training.peers import Peer, StepInfo

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h
COMPILING = 4.0  # the first step, which compiles, may take this many times as long

Names = Callable[[], list[str]]

_log = logging.getLogger(__name__)


class SkippedUpdates(Peer):
    """Reports skipped updates, and ends a run after too many in a row.

    It reads the status of an update while the next step is running, so the device never waits for
    the host; a run stops at most one step late.
    """

    def __init__(self, workdir: Path, log: MetricLog, limit: int, kinds: Sequence[str]):
        """`limit` skipped updates in a row end the run, counted over all batches and for each kind.

        `kinds` names the sources of each kind.
        """
        self._workdir, self._log, self._limit, self._kinds = workdir, log, limit, kinds
        # Of the previous step: its number from 0, kind, metrics and names, but not its batch.
        self._last: tuple[int, int, Mapping[str, jax.Array], Names] | None = None
        # The latest uninterrupted series: over all batches, and for each kind.
        self._skipped: list[dict[str, Any]] = []
        self._skipped_of: list[list[dict[str, Any]]] = [[] for _ in kinds]

    def on_step(self, info: StepInfo) -> None:
        """Reads the status of the previous step.

        Raises:
            TrainingError: that step exceeded the limit, or had nothing to learn.
        """
        before, self._last = self._last, (info.step - 1, info.kind, info.metrics, info.names)
        if before is not None:
            self._look(*before)

    def on_end(self) -> None:
        """Reads the status of the last step; raises as `on_step`."""
        before, self._last = self._last, None
        if before is not None:
            self._look(*before)

    def _look(self, step: int, kind: int, metrics: Mapping[str, jax.Array], names: Names) -> None:
        update_status = int(metrics["update_status"])
        if update_status == FINE:
            self._skipped.clear()
            self._skipped_of[kind].clear()
            return
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        del values["update_status"]
        found = {"at": step, "reason": REASONS[update_status], **values, "samples": names()}
        self._skipped.append(found)
        self._skipped_of[kind].append(found)
        self._log.event("skipped", **found)
        terms = ", ".join(f"{name} {value:.4g}" for name, value in values.items())
        self._log.say(f"the update of step {step} is skipped ({found['reason']}): {terms}")
        if update_status == NOTHING_TO_LEARN:
            raise TrainingError(
                "no token or row of this batch carries a loss",
                where=f"step {step}, samples {', '.join(found['samples'])}",
                expected="at least one in every term of the loss",
                fix="look at these records, and at data.max_length and data.max_answer",
            )
        if len(self._skipped) >= self._limit:
            self._stop(self._skipped, "")
        if len(self._skipped_of[kind]) >= self._limit:
            self._stop(self._skipped_of[kind], self._kinds[kind])

    def _stop(self, skipped: list[dict[str, Any]], sources: str) -> None:
        """Ends the run because of `skipped`; `sources` names those of a single kind of batch."""
        process = jax.process_index()
        path = self._workdir / ("stopped.json" if process == 0 else f"stopped-{process}.json")
        write_json(path, skipped)
        first, last = skipped[0], skipped[-1]
        of = f" of batches from {sources}" if sources else ""
        fix = "lower optimizer.lr or raise optimizer.warmup_steps. "
        if sources:
            fix = "only these sources fail, the rest of the mixture learns: fix their records, or "
            fix += "remove them from data.sources. "
        raise TrainingError(
            f"{len(skipped)} updates in a row{of} were skipped, the last one because its loss or "
            "gradient " + ("is not finite" if last["reason"] == "not finite" else "is a spike"),
            where=f"steps {first['at']} to {last['at']}; their samples, losses and gradient "
            f"norms by tower are in {path}",
            expected=f"fewer than {self._limit} in a row (guards.max_skipped)",
            fix=f"look at those samples; {fix}The last checkpoint is from before",
        )


class Watchdog(Peer):
    """Ends a process that completes no step for `seconds`, inside a `with` block; 0 disables it.

    It needs its own thread, since the main one hangs inside compiled code or storage. Each process
    writes the number of steps it has begun to `workdir/beats/`, so that a run of several processes
    can name the slow one that the others wait for inside a step.
    """

    def __init__(
        self,
        seconds: float,
        workdir: Path,
        *,
        process: int = 0,
        processes: int = 1,
        on_hang: Callable[[str], None] | None = None,
    ):
        """`on_hang(text)` is called before the process ends with EXIT_CODE."""
        self._seconds, self._folder = seconds, Path(workdir) / "beats"
        self._process, self._processes, self._on_hang = process, processes, on_hang
        self._stopped = threading.Event()
        self._beat = time.monotonic()
        self._step: int | None = None
        self._begun = -1
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Watchdog:
        if self._seconds > 0:
            self._beat = time.monotonic()
            self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()

    def on_step(self, info: StepInfo) -> None:
        """A sign of life."""
        self.beat(info.step)

    def begin(self, step: int) -> None:
        """Notes that step `step`, counted from 1, has its batch and is about to run."""
        self._begun = step

    def beat(self, step: int) -> None:
        """Notes that `step` steps are done."""
        self._step, self._beat = step, time.monotonic()

    def _watch(self) -> None:
        while not self._stopped.wait(min(self._seconds / 4, 10.0)):
            self._leave_beat()
            allowed = self._seconds * (COMPILING if self._step is None else 1.0)
            silent = time.monotonic() - self._beat
            if silent > allowed:
                self._end(silent)

    def _leave_beat(self) -> None:
        if self._processes == 1:
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            write_json(self._folder / f"{self._process}.json", {"begun": self._begun})
        except OSError as error:
            _log.debug("no beat was left: %s", error)

    def _end(self, silent: float) -> None:
        step = "before the first step" if self._step is None else f"after step {self._step}"
        text = f"no step for {silent:.0f} s, {step}{self._behind()}; ending this process"
        # Also to the file: the standard error of a pod's hosts is often lost.
        with tempfile.TemporaryFile("w+") as stacks:
            faulthandler.dump_traceback(stacks, all_threads=True)
            stacks.seek(0)
            process_log.error("%s\n%s", text, stacks.read())
        print(f"zv: {text}; the stacks of all threads are in run.log", file=sys.stderr, flush=True)
        if self._on_hang is not None:
            self._on_hang(text)
        logging.shutdown()
        os._exit(EXIT_CODE)  # an exception would never reach the hanging thread

    def _behind(self) -> str:
        """Names the processes that have begun fewer steps than the fastest."""
        if self._processes == 1:
            return ""
        steps: dict[int, int] = {}
        for number in range(self._processes):
            try:
                steps[number] = json.loads((self._folder / f"{number}.json").read_text())["begun"]
            except (OSError, ValueError, KeyError):
                steps[number] = -1
        if all(step < 0 for n, step in steps.items() if n != self._process):
            return ""  # theirs are on other machines
        slow = [f"{n} (step {s})" for n, s in steps.items() if s < max(steps.values())]
        return f"; processes behind: {', '.join(slow)}" if slow else "; no process is behind"


class Preemption:
    """Handles SIGTERM, the notice of preemption, and the first Ctrl-C, inside a `with` block.

    The second Ctrl-C ends the process at once, as elsewhere. A scheduler sends SIGTERM to one
    process or to all. In a run of several processes, JAX's coordination
    service makes them agree on a step (`jax.experimental.multihost_utils`); a run of one process
    has no such service and handles the signal itself.
    """

    def __init__(self, agreed: Callable[[int], bool]):
        """`agreed(step)`: whether a run of several processes stops after `step` steps."""
        self._agreed = agreed
        self._told = False
        self._before: dict[int, Any] = {}  # the handler of each signal

    def __enter__(self) -> Preemption:
        # Python delivers signals to the main thread only; elsewhere the caller handles them.
        if jax.process_count() == 1 and threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                if signal.getsignal(number) != signal.SIG_IGN:  # as shells start what runs behind
                    self._before[number] = signal.signal(number, self._tell)
        return self

    def __exit__(self, *_: object) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def reached(self, step: int) -> bool:
        """Whether to save and stop after `step` steps; all processes call it at each step."""
        return self._told if jax.process_count() == 1 else self._agreed(step)

    def _tell(self, number: int, frame: FrameType | None) -> None:
        self._told = True
        if number == signal.SIGINT:
            signal.signal(signal.SIGINT, self._before[signal.SIGINT])
            # Not `print`: the signal may arrive inside one.
            os.write(2, b"\nending after this step, and saving; Ctrl-C again ends at once\n")


@contextmanager
def heartbeat(what: str, say: Callable[[str], None], every: float = 30.0) -> Iterator[None]:
    """Reports `what` and the seconds so far, every `every` seconds, until the block ends.

    `process_log` gets the duration at the end.
    """
    began, over = time.monotonic(), threading.Event()

    def beat() -> None:
        while not over.wait(every):
            say(f"{what}: {time.monotonic() - began:.0f} s")

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    process_log.info("%s took %.1f s", what, time.monotonic() - began)
