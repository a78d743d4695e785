"""Runs parts, each in a process of its own under its own time limit; results are kept at once.

A part is a function that yields rows. What it has yielded is in the file, one JSON object a line,
whatever becomes of it afterwards; a part that fails or runs out of time leaves a row that says so,
and the next one begins.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from benchmarks import rows as lines  # noqa: E402
from benchmarks.report import machine  # noqa: E402
from zv_jax.errors import ZvError, unknown_name  # noqa: E402
from zv_jax.files import read_jsonl  # noqa: E402
from zv_jax.parallel import runtime  # noqa: E402
from zv_jax.tables import align  # noqa: E402

RESULTS = "{results}"  # an argument of a part that wants to know what others found: the file
TOO_SHORT = 10  # seconds in which no part gets anywhere


@dataclass(frozen=True)
class Part:
    """One process of a suite.

    Attributes:
        name: by which it is chosen; several parts may share it.
        run: the function, as "benchmarks.decode:rows".
        about: what it measures, for people.
        limit: seconds that it may take.
        given: keyword arguments of the function.
        environment: variables of its process; XLA_FLAGS are added to those that are there.
    """

    name: str
    run: str
    about: str
    limit: int
    given: dict[str, Any] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Its name and its arguments."""
        given = (f"{name}={value}" for name, value in self.given.items() if value != RESULTS)
        return " ".join([self.name, *given])


def chosen(parts: Sequence[Part], only: Sequence[str]) -> list[Part]:
    """The parts of these names, in their own order; all without names.

    Raises:
        ConfigError: there is no such part.
    """
    known = dict.fromkeys(part.name for part in parts)
    for name in only:
        if name not in known:
            raise unknown_name("part", name, known, "--only", fix=f"--only {next(iter(known))}")
    return [part for part in parts if not only or part.name in only]


def listed(parts: Sequence[Part]) -> str:
    """What would run, as text."""
    head = ("part", "at most", "what", "arguments")
    lines = [
        (part.name, f"{part.limit} s", part.about, part.label.partition(" ")[2]) for part in parts
    ]
    return "\n".join(align([head, *lines], "lrl"))


def run(
    parts: Sequence[Part], out: Path, seconds: float = float("inf"), name: str = "cpu"
) -> list[dict[str, Any]]:
    """Runs the parts one after the other, `seconds` in all at the most; the lines of `out`.

    Ends the processes of a part with it, also when interrupted.

    Args:
        name: of the suite, "cpu" or "gpu": its place in the documentation.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    out.unlink(missing_ok=True)
    today = time.strftime("%Y-%m-%d", time.gmtime())
    lines.write(out, "machine", {"suite": name, "date": today} | machine())
    until = time.monotonic() + seconds
    for number, part in enumerate(parts, 1):
        began, left = time.monotonic(), until - time.monotonic()
        about = {"part": part.name, "run": part.run, "given": part.given}
        lines.write(out, "part", about | {"load": os.getloadavg()[0]})
        _say(f"{number} of {len(parts)}, load {os.getloadavg()[0]:.2f}: {part.label}")
        limit = min(part.limit, left)
        wrong = f"not begun: {left:.0f} s are left" if left < TOO_SHORT else _run(part, out, limit)
        if wrong:
            lines.write(out, "row", lines.Row(part.name, part.label, note=wrong))
            _say(f"  {wrong}")
        took = time.monotonic() - began
        lines.write(out, "end", {"part": part.name, "seconds": round(took, 1), "wrong": wrong})
    return read_jsonl(out)


def _run(part: Part, out: Path, limit: float) -> str:
    """What went wrong; "" if nothing did."""
    environment = os.environ | part.environment
    flags = part.environment.get("XLA_FLAGS")
    if flags:
        environment["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {flags}".strip()
    command = [sys.executable, __file__, json.dumps(asdict(part)), str(out)]
    process = subprocess.Popen(
        command, cwd=ROOT, env=environment, process_group=0, text=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )  # fmt: skip
    try:
        _, said = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return f"out of time after {limit:.0f} s"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with all that it has started
        process.wait()
    if not process.returncode:
        return ""
    last = said.strip().splitlines()[-1:] or [f"exit status {process.returncode}"]
    return f"failed: {last[0][:300]}"


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def page(found: Sequence[dict[str, Any]]) -> str:
    """Machine, versions, peaks and all rows, as text."""
    about = next(line for line in found if line["kind"] == "machine")
    versions = ", ".join(f"{name} {version}" for name, version in about["versions"].items())
    load = [line["load"] for line in found if line["kind"] == "part"]
    best = lines.peaks(found)
    text = [f"{about['processor']}, {about['cores_allowed']} cores; {versions}"]
    if best.flops:
        text.append(
            f"measured peaks of {best.device}: {best.flops / 1e9:,.0f} GFLOP/s of {best.dtype} "
            f"products, {best.bandwidth / 1e9:,.0f} GB/s read"
        )
    if load:
        text.append(f"load average when parts began: {min(load):.2f} to {max(load):.2f}")
    return "\n".join(
        [*text, lines.table(lines.rows(found), best), "a ratio below 1 is in our favour"]
    )


def main() -> None:
    """One part, in this process."""
    part, out = Part(**json.loads(sys.argv[1])), Path(sys.argv[2])
    runtime.prepare()
    module, _, function = part.run.partition(":")
    given = {name: str(out) if value == RESULTS else value for name, value in part.given.items()}
    try:
        for found in getattr(importlib.import_module(module), function)(**given):
            lines.write(out, "peaks" if isinstance(found, lines.Peaks) else "row", found)
    except ZvError as error:
        sys.exit(": ".join(filter(None, (error.where, error.what))))


if __name__ == "__main__":
    main()
