"""A run that makes no step for long is ended, with the stacks that say where it hangs.

Only a thread of its own can tell: the main one waits inside compiled code or storage. Each process
leaves its last step in `workdir/beats/`, so that in a run of several the one that is behind, which
the others wait for, can be named.
"""

from __future__ import annotations

import faulthandler
import json
import logging
import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

from zv_jax.files import write_json
from zv_jax.parallel.distributed import journal

EXIT_CODE = 70  # EX_SOFTWARE of sysexits.h
COMPILING = 4.0  # times as long may pass before the first step, which compiles

_log = logging.getLogger(__name__)


class Watchdog:
    """Expects a `beat` every `seconds`, inside a `with` block; 0 seconds watch nothing."""

    def __init__(
        self,
        seconds: float,
        workdir: Path,
        *,
        process: int = 0,
        processes: int = 1,
        on_hang: Callable[[str], None] | None = None,
    ):
        """`on_hang(text)` is told before the process ends with EXIT_CODE."""
        self._seconds, self._folder = seconds, Path(workdir) / "beats"
        self._process, self._processes, self._on_hang = process, processes, on_hang
        self._stopped = threading.Event()
        self._beat = time.monotonic()
        self._step: int | None = None
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

    def beat(self, step: int) -> None:
        """`step` steps are done."""
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
            write_json(self._folder / f"{self._process}.json", {"step": self._step})
        except OSError as error:
            _log.debug("no beat was left: %s", error)

    def _end(self, silent: float) -> None:
        step = "before the first step" if self._step is None else f"after step {self._step}"
        text = f"no step for {silent:.0f} s, {step}{self._behind()}; ending this process"
        # The file too: standard error of a pod's hosts is often kept by nobody.
        with tempfile.TemporaryFile("w+") as stacks:
            faulthandler.dump_traceback(stacks, all_threads=True)
            stacks.seek(0)
            journal.error("%s\n%s", text, stacks.read())
        print(f"zv: {text}; the stacks of all threads are in run.log", file=sys.stderr, flush=True)
        if self._on_hang is not None:
            self._on_hang(text)
        logging.shutdown()
        os._exit(EXIT_CODE)  # an exception would never reach the thread that hangs

    def _behind(self) -> str:
        """Which processes of a larger run have made fewer steps than the foremost."""
        if self._processes == 1:
            return ""
        steps: dict[int, int] = {}
        for number in range(self._processes):
            try:
                found = json.loads((self._folder / f"{number}.json").read_text())["step"]
                steps[number] = -1 if found is None else found
            except (OSError, ValueError, KeyError):
                steps[number] = -1
        slow = [f"{n} (step {s})" for n, s in steps.items() if s < max(steps.values())]
        return f"; processes behind: {', '.join(slow)}" if slow else "; no process is behind"
