"""Training steps of ours beside plain PyTorch: python benchmarks/steps.py [--help].

For every case: both sides take the same first steps from the same weights and must agree; then
each row runs in a process of its own, the rows in turn (A B A B), and one table is printed.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that the file runs from anywhere, installed or not

from benchmarks.cases import CASES, case_config  # noqa: E402
from benchmarks.report import machine, summarise, table  # noqa: E402
from benchmarks.rows import Row  # noqa: E402
from benchmarks.worker import ROWS, rows_of, work  # noqa: E402
from zv_jax.config.build import to_dict  # noqa: E402
from zv_jax.errors import ConfigError, ZvError, unknown_name  # noqa: E402
from zv_jax.parallel import runtime  # noqa: E402

Rounds = dict[str, list[dict[str, Any]]]
QUIET = 0.5  # a load above this much at the start deserves a warning


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line.

    Raises:
        ConfigError: an unknown case or row, or a number below 1.
    """
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        epilog="rows: " + "; ".join(f"{row}: {text}" for row, text in ROWS.items()),
    )
    known = [name for name in CASES if not name.startswith("tiny/")]
    parser.add_argument("--cases", default=",".join(known), help="some of " + ", ".join(CASES))
    parser.add_argument("--rows", default=",".join(ROWS), help="jax is always among them")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=2, help="processes of each row")
    parser.add_argument("--steps", type=int, default=5, help="timed steps of each process")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them, the first too")
    parser.add_argument("--check-only", action="store_true", help="compare losses, time nothing")
    parser.add_argument("--out", type=Path, help="a file for all figures, as JSON")
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.cases = _chosen(options.cases, CASES, "--cases")
    options.rows = _chosen(options.rows, ROWS, "--rows")
    options.rows = ["jax", *(row for row in options.rows if row != "jax")]
    for name in ("threads", "rounds", "steps", "warmup"):
        if getattr(options, name) < 1:
            raise ConfigError(
                f"{getattr(options, name)} {name}",
                where=f"--{name}",
                expected="1 or more",
                fix=f"--{name} 1",
            )
    return options


def _chosen(text: str, known: dict, flag: str) -> list[str]:
    names = [name.strip() for name in text.split(",") if name.strip()]
    for name in names:
        if name not in known:
            raise unknown_name("name", name, known, flag, fix=f"{flag} {next(iter(known))}")
    return names


def in_own_process(job: dict[str, Any]) -> dict[str, Any]:
    """`worker.work(job)` in a fresh interpreter.

    Raises:
        ZvError: it failed; the message is its own.
    """
    with tempfile.TemporaryDirectory() as directory:
        result = Path(directory) / "result.json"
        command = [sys.executable, __file__, "--worker", json.dumps(job | {"result": str(result)})]
        done = subprocess.run(command, cwd=ROOT, env=os.environ, stderr=subprocess.PIPE, text=True)
        if done.returncode:
            tail = done.stderr.strip().splitlines()[-12:]
            raise ZvError("\n".join(tail) or f"exit status {done.returncode}", where=job["case"])
        return json.loads(result.read_text("utf-8"))


def job(case: str, folder: Path, threads: int, warmup: int, steps: int) -> dict[str, Any]:
    """What every process of a case is handed; its weights lie in a folder of their own."""
    place = folder / case.replace("/", "-")
    place.mkdir()
    return {
        "case": case, "directory": str(place), "threads": threads, "warmup": warmup, "steps": steps
    }  # fmt: skip


def agree(case: str, job: dict[str, Any]) -> dict[str, Any]:
    """Takes the first steps on both sides.

    Raises:
        ZvError: they disagree; nothing is to be timed then.
    """
    ours = in_own_process(job | {"task": "check", "row": "jax"})
    agreed = in_own_process(job | {"task": "check", "row": "torch"})
    _say(
        f"{case}: the same computation; losses of {agreed['steps']} steps differ by "
        f"{agreed['largest_difference_of_losses']:.1e} at most"
    )
    return {
        "check": agreed,
        "first_losses": ours["steps"][0]["metrics"],
        "shapes": ours["shapes"],
        "config": to_dict(case_config(case)),
    }


def timed(job: dict[str, Any], rows: Sequence[str], rounds: int) -> Rounds:
    """What `worker.measure` returns, by row, in each round; the rows take turns.

    Raises:
        ZvError: one failed.
    """
    found: Rounds = {row: [] for row in rows}
    for number in range(rounds):
        for row in rows:
            found[row].append(in_own_process(job | {"task": "time", "row": row}))
            median = 1000 * found[row][-1]["median"]
            _say(f"{job['case']}: round {number + 1} of {rounds}, {row}: {median:.1f} ms")
    return found


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All checks, then all measurements.

    Raises:
        ZvError: the two sides disagree in one of the cases; nothing is timed then.
    """
    report: dict[str, Any] = {"machine": machine(), "cases": {}}
    load = report["machine"]["load_average_1min"]
    if load > QUIET and not options.check_only:
        _say(f"warning: the machine is busy (load {load:.2f}); the times will not mean much")
    with tempfile.TemporaryDirectory() as directory:
        jobs = {}
        for case in options.cases:
            jobs[case] = job(
                case, Path(directory), options.threads, options.warmup, options.steps
            )  # fmt: skip
            report["cases"][case] = agree(case, jobs[case])
        for case, one in {} if options.check_only else jobs.items():
            wanted = [row for row in rows_of(case) if row in options.rows]
            rounds = timed(one, wanted, options.rounds)
            report["cases"][case] |= {"rounds": rounds, "summary": summarise(rounds)}
    return report


def rows(
    case: str,
    others: Sequence[str] = (),
    rounds: int = 2,
    steps: int = 5,
    warmup: int = 2,
    threads: int = 2,
) -> Iterator[Row]:
    """A step of ours beside other ways, which take turns with it in every round.

    Args:
        others: rows of `worker.ROWS`; all that the case has, without any. One that fails is a row
            without figures.

    Raises:
        ZvError: the two sides disagree, or ours fails.
    """
    others = others or rows_of(case)[1:]
    found: Rounds = {row: [] for row in ("jax", *others)}
    failed: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as directory:
        one = job(case, Path(directory), min(threads, runtime.cores()), warmup, steps)
        agree(case, one)
        flops = in_own_process(one | {"task": "count", "row": "jax"})
        for _ in range(rounds):
            for row in found:
                try:
                    found[row] += [] if row in failed else timed(one, [row], 1)[row]
                except ZvError as error:
                    if row == "jax":
                        raise
                    failed[row] = f"failed: {error.what.splitlines()[-1]:.300}"
    medians = {row: tuple(part["median"] for part in parts) for row, parts in found.items()}
    for other in others:
        about = "steps", f"{case}, a step", ROWS[other].partition(":")[0]
        if other in failed:
            yield Row(*about, note=failed[other])
        else:
            yield Row(*about, medians["jax"], medians[other], **flops)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Exit status 0; 1 when something is wrong, with one message."""
    try:
        options = parse()
        if options.worker:
            job = json.loads(options.worker)
            Path(job["result"]).write_text(json.dumps(work(job)), "utf-8")
            return 0
        report = run(options)
        report["options"] = {
            name: value for name, value in vars(options).items() if name not in ("worker", "out")
        }
        if options.out:
            options.out.parent.mkdir(parents=True, exist_ok=True)
            options.out.write_text(json.dumps(report, indent=1) + "\n", "utf-8")
        if not options.check_only:
            about = report["machine"]
            versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
            print(f"{about['processor']}, {options.threads} threads; {versions}")
            print(table({case: part["summary"] for case, part in report["cases"].items()}))
            print("ratio: our median time over this row's; below 1 ours is faster")
            for row in options.rows:
                print(f"{row}: {ROWS[row]}")
        return 0
    except ZvError as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
