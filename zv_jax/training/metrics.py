"""Logs of a run: `metrics.jsonl`, `events.jsonl`, TensorBoard, a progress bar."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from tensorboardX import SummaryWriter
from tqdm import tqdm

from zv_jax.files import JsonLines
from zv_jax.parallel.distributed import process_log

_BOARD_QUEUE = 10_000  # values


def peak_rss_bytes() -> int:
    """Peak resident memory of this process, in bytes.

    Linux reports it per program image in /proc; `getrusage` would include the memory of the parent
    before it started this program. Other systems only have `getrusage`.
    """
    try:
        for line in Path("/proc/self/status").read_text("ascii").splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    import resource  # absent on Windows, where /proc is too

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def rss_bytes() -> int | None:
    """Current resident memory of this process, in bytes; None without /proc."""
    try:
        pages = Path("/proc/self/statm").read_text("ascii").split()[1]
    except OSError:
        return None
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


class MetricLog:
    """Writes one workdir's logs and shows progress.

    On a terminal progress is a bar, elsewhere a line every `every_seconds`. Every process
    creates one; only that with `enabled=True` writes or prints.

    `metrics.jsonl` has one object for each logged step: the step, its metrics, `seconds` of
    training so far (with the earlier parts of a resumed run), `rss_bytes` of this process and
    `samples_per_second` since the previous line. `events.jsonl` has one object for each event:
    `time` (seconds since 1970), `kind`, and further fields; a resume never shortens it.
    `tensorboard/` has the same metrics for TensorBoard.
    """

    def __init__(
        self,
        workdir: Path,
        steps: int,
        *,
        enabled: bool = True,
        every_seconds: float = 10.0,
        stream: IO[str] | None = None,
    ):
        self._metrics = JsonLines(Path(workdir) / "metrics.jsonl")
        self._events = JsonLines(Path(workdir) / "events.jsonl")
        self._steps = steps
        self._enabled = enabled
        self._every = every_seconds
        self._stream = stream or sys.stderr
        self._bar: tqdm | None = None
        self._board: SummaryWriter | None = None
        self._step = self._first = 0
        self._before = 0.0
        self._samples = self._samples_logged = 0
        self._loss: float | None = None  # of the latest line; not shown before the first
        self._began = self._logged = self._printed = time.monotonic()

    def start(self, step: int = 0) -> None:
        """Starts after `step` steps (0: a new run) and drops later lines of metrics.

        A rename replaces the file, so a crash leaves either the old or the new one.
        """
        self._step = self._first = step
        self._began = self._logged = self._printed = time.monotonic()
        if not self._enabled:
            return
        rows = self._metrics.keep(lambda row: row.get("step", 0) <= step)
        self._before = float(rows[-1].get("seconds") or 0.0) if rows else 0.0
        self._events.keep()
        if self._stream.isatty():
            self._bar = tqdm(
                total=self._steps,
                initial=step,
                file=self._stream,
                unit="step",
                dynamic_ncols=True,
            )

    def advance(self, samples: int) -> None:
        """Counts one finished step of `samples` samples over all hosts."""
        self._step += 1
        self._samples += samples
        if not self._enabled:
            return
        now = time.monotonic()
        if self._bar is not None:
            self._bar.update(1)
        elif now - self._printed >= self._every or self._step == self._steps:
            self._printed = now
            print(self._progress(now), file=self._stream, flush=True)

    def log(self, metrics: Mapping[str, Any]) -> dict[str, Any]:
        """Writes the metrics of the latest step and returns the complete row.

        Converting values to floats waits for the device.
        """
        row: dict[str, Any] = {"step": self._step}
        row.update((name, float(value)) for name, value in metrics.items())
        now = time.monotonic()
        row["seconds"] = round(self._before + now - self._began, 3)
        row["rss_bytes"] = rss_bytes() or 0
        taken = max(now - self._logged, 1e-9)
        row["samples_per_second"] = round((self._samples - self._samples_logged) / taken, 3)
        self._logged, self._samples_logged = now, self._samples
        self._loss = row.get("loss", self._loss)
        if self._enabled:
            if self._metrics.append(row):
                self._to_tensorboard(row)
            else:
                self._board = None  # its writer would block on a full disk; made anew later
            if self._bar is not None:
                shown = {"samples/s": row["samples_per_second"]}
                if self._loss is not None:
                    shown = {"loss": f"{self._loss:.4g}", **shown}
                self._bar.set_postfix(shown)
        return row

    def _to_tensorboard(self, row: Mapping[str, Any]) -> None:
        if self._board is None:
            folder = self._metrics.path.parent / "tensorboard"
            # Room for many lines: a writer that died on a full disk no longer empties its queue.
            self._board = SummaryWriter(
                str(folder), purge_step=self._first + 1, max_queue=_BOARD_QUEUE
            )
        for name, value in row.items():
            if name != "step":
                self._board.add_scalar(name, value, row["step"])

    def event(self, kind: str, **fields: Any) -> None:
        """Appends `{"time", "kind", "step", ...}` to `events.jsonl`."""
        if self._enabled:
            row = {"time": round(time.time(), 3), "kind": kind, "step": self._step}
            self._events.append({**row, **fields})

    def say(self, text: str) -> None:
        """Prints a line above the bar and logs it; ignores an empty one."""
        if not text:
            return
        process_log.info("%s", text)
        if self._enabled and self._bar is not None:
            self._bar.write(text, file=self._stream)
        elif self._enabled:
            print(text, file=self._stream, flush=True)

    def close(self) -> None:
        """Ends the bar and the TensorBoard file. Calling it twice is harmless."""
        if self._board is not None:
            try:
                self._board.close()
            except OSError as error:
                process_log.warning("the TensorBoard file cannot be finished: %s", error)
            self._board = None
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def _progress(self, now: float) -> str:
        taken = max(now - self._began, 1e-9)
        done = self._step - self._first
        left = (self._steps - self._step) * taken / max(1, done)
        loss = "" if self._loss is None else f"  loss {self._loss:.4g}"
        return (
            f"step {self._step}/{self._steps} ({100 * self._step / max(1, self._steps):.0f}%)"
            f"{loss}  {self._samples / taken:.3g} samples/s"
            f"  {tqdm.format_interval(taken)} passed, {tqdm.format_interval(left)} left"
        )
