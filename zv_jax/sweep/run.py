"""Runs the points of a sweep, one after the other or several at once, and tells what came out.

Started again, a sweep goes on: finished points are skipped, interrupted ones resume, failed ones
are tried again.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from zv_jax.errors import ConfigError
from zv_jax.files import write_atomic, writing
from zv_jax.sweep import launchers, table
from zv_jax.sweep.points import Point, Sweep, run_id, workdir


def sweep_points(
    sweep: Sweep,
    root: Path,
    launcher: str = "local",
    extra: list[str] | None = None,
    parallel: int = 1,
    retries: int = 1,
    dry_run: bool = False,
    say: Callable[[str], None] = print,
) -> list[table.Row]:
    """Runs what is not finished and returns the rows of the table.

    A cluster launcher returns when a job is accepted; the same command later skips what has
    finished since and shows the table so far.

    Args:
        root: every point gets a folder there.
        extra: further arguments of a launch script.
        parallel: processes at once.
        retries: how often a failed point is tried again.
        dry_run: only say the commands, as `launchers.rehearse` does.

    Raises:
        ConfigError: as `launchers.command`, in a dry run also as `launchers.rehearse`.
    """
    waiting = [p for p in sweep.points if table.read_results(workdir(root, p)) is None]
    done = len(sweep.points) - len(waiting)
    say(f"{len(sweep.points)} points, {done} finished before")
    # Every command is made before the first is run: a mistake stops the sweep at its start.
    commands = {
        run_id(p): launchers.command(launcher, sweep, p, root, extra or []) for p in waiting
    }
    if dry_run:
        for words in commands.values():
            say(launchers.rehearse(words))
        return table.rows(sweep, root, {})
    failed = _all(waiting, commands, root, parallel, retries, say)
    found = table.rows(sweep, root, failed)
    write(sweep, root, found)
    return found


def _all(
    waiting: list[Point],
    commands: dict[str, list[str]],
    root: Path,
    parallel: int,
    retries: int,
    say: Callable[[str], None],
) -> dict[str, str]:
    failed: dict[str, str] = {}
    queue, running, tries = list(waiting), {}, dict.fromkeys(commands, 0)
    try:
        while queue or running:
            while queue and len(running) < max(1, parallel):
                point = queue.pop(0)
                name = run_id(point)
                folder = workdir(root, point)
                folder.mkdir(parents=True, exist_ok=True)
                tries[name] += 1
                say(f"start: {name}" + (f" (try {tries[name]})" if tries[name] > 1 else ""))
                with (folder / "output.log").open("ab") as log:
                    process = subprocess.Popen(commands[name], stdout=log, stderr=log)
                running[name] = (process, point, time.monotonic())
            for name, (process, point, began) in list(running.items()):
                code = process.poll()
                if code is None:
                    continue
                del running[name]
                if code == 0:
                    say(f"done:  {name} in {time.monotonic() - began:.0f} s")
                    failed.pop(name, None)
                    continue
                failed[name] = last_words(workdir(root, point) / "output.log")
                again = tries[name] <= retries
                say(f"failed: {name} ({code}){', again later' if again else ''}\n{failed[name]}")
                if again:
                    queue.append(point)
            time.sleep(0.1)
    finally:
        # Interrupted: the runs stop too, and resume when the sweep is started again.
        for process, _, _ in running.values():
            process.terminate()
        for process, _, _ in running.values():
            process.wait()
    return failed


def last_words(log: Path) -> str:
    """The error at the end of a log, or its last lines."""
    lines = log.read_text("utf-8", errors="replace").splitlines()
    start = next((i for i in range(len(lines) - 1, -1, -1) if lines[i].startswith("zv: ")), -5)
    return "\n".join(lines[start:][:8])


def write(sweep: Sweep, root: Path, found: list[table.Row]) -> None:
    """`sweep.csv` and `sweep.html` in the root."""
    text, page = table.csv_text(sweep, found), table.html(sweep, found)
    write_files(root, {"sweep.csv": text, "sweep.html": page})


def write_files(root: Path, contents: Mapping[str, str]) -> None:
    """Files in the root by their names, each whole or not at all.

    Raises:
        ConfigError: the folder cannot be written.
    """
    with writing("the table of the sweep", root, "give another --workdir", ConfigError):
        root.mkdir(parents=True, exist_ok=True)
        for name, content in contents.items():
            write_atomic(root / name, content.encode())
