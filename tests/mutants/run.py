"""Plants the mistakes of mutants.yaml, one at a time, and tells which of them tests notice.

    make mutants                      all of them, the rates of kills
    make mutants ONLY=exif-ignored    one of them (several: ONLY="one two")
    python tests/mutants/run.py --list

Each is made in a copy of the tree in a temporary folder; the tree itself is never touched. A
mutant is killed where one of its tests fails. Those that the default tests leave alive are tried
once more with their parity tests, if that environment is there (`make test-parity` makes it).

The exit code is 1 where fewer are killed than promised, or one that was asked for survives, and 2
where nothing can be said: an edit that does not apply, a test that is not there or fails without
any mutant.
"""

from __future__ import annotations

import argparse
import collections
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("mutants.yaml")
PARITY = ROOT / ".venv-parity/bin/python"
PROMISED = {"default": 0.85, "with parity": 0.95}
LIMIT = 600  # seconds a test; a busy machine takes many times what a quiet one does
# What pytest says: of all other codes none means that a test noticed.
PASSED, FAILED = 0, 1
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "runs", "build", "dist", "site", "shared")


class CannotTell(Exception):
    """Neither killed nor survived: the list or the tree has to be mended first."""


@dataclass(frozen=True)
class Mutant:
    """One edit, `old` to `new` in `file`, and the tests that are to notice it."""

    name: str
    file: str
    old: str
    new: str
    why: str
    default: tuple[str, ...] = ()
    parity: tuple[str, ...] = ()
    equivalent: str = ""

    def applied(self, text: str) -> str:
        """`text` with the mistake.

        Raises:
            CannotTell: `old` does not stand in it exactly once.
        """
        found = text.count(self.old)
        if found != 1:
            raise CannotTell(f"{self.name}: {self.file} has its old text {found} times, not once")
        return text.replace(self.old, self.new)


def load(path: Path = LIST) -> list[Mutant]:
    """The mutants of the list, in its order."""
    rows = yaml.safe_load(path.read_text("utf-8"))
    tupled = lambda value: tuple(value) if isinstance(value, list) else value
    return [Mutant(**{name: tupled(value) for name, value in row.items()}) for row in rows]


class Copy:
    """A copy of the tree, in which one mutant at a time is planted."""

    def __init__(self, folder: Path, root: Path):
        self.folder = folder / "tree"
        # Links stay links: a folder that Python sees in two places is changed in both.
        shutil.copytree(root, self.folder, ignore=LEFT_OUT, symlinks=True)

    def noticed(self, mutant: Mutant, python: Path, tests: Sequence[str], marker: str = "") -> bool:
        """Whether one of `tests` fails once the mutant is planted.

        Raises:
            CannotTell: the mutant does not apply, or pytest ran into something else.
        """
        file = self.folder / mutant.file
        right = file.read_text("utf-8")
        self._write(file, mutant.applied(right))
        try:
            return self.failure(mutant.name, python, tests, marker) is not None
        finally:
            self._write(file, right)

    def failure(
        self, name: str, python: Path, tests: Sequence[str], marker: str = ""
    ) -> str | None:
        """What pytest says where one of `tests` fails in the copy as it is; see `noticed`."""
        command = [str(python), "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", *tests]
        command += ["-m", marker] if marker else []
        env = os.environ | {"PYTHONPATH": str(self.folder)}
        limit = LIMIT * len(tests)
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=env, capture_output=True, text=True, timeout=limit
            )
        except subprocess.TimeoutExpired:
            raise CannotTell(f"{name}: its tests took more than {limit} s") from None
        if done.returncode not in (PASSED, FAILED):
            raise CannotTell(f"{name}: pytest could not run its tests\n{done.stdout[-2000:]}")
        return done.stdout if done.returncode == FAILED else None

    def _write(self, file: Path, text: str) -> None:
        file.write_text(text, "utf-8")
        # Python knows a stale one by size and second alone.
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*.pyc"):
            compiled.unlink()


def judge(copy: Copy, mutant: Mutant, parity: Path | None) -> str:
    """One of "killed", "killed by parity", "survived", "equivalent"."""
    if mutant.equivalent:
        mutant.applied((copy.folder / mutant.file).read_text("utf-8"))
        return "equivalent"
    if mutant.default and copy.noticed(mutant, Path(sys.executable), mutant.default):
        return "killed"
    if parity and mutant.parity and copy.noticed(mutant, parity, mutant.parity, "parity"):
        return "killed by parity"
    return "survived"


def rates(verdicts: Mapping[str, int], parity: bool) -> dict[str, float]:
    """Shares of killed mutants, those that are equivalent left out."""
    counted = sum(verdicts.values()) - verdicts.get("equivalent", 0)
    killed = verdicts.get("killed", 0)
    found = {"default": killed / counted}
    if parity:
        found["with parity"] = (killed + verdicts.get("killed by parity", 0)) / counted
    return found


def run(mutants: Sequence[Mutant], parity: Path | None, whole: bool, root: Path = ROOT) -> int:
    """Judges each, prints as it goes, and gives the exit code.

    Args:
        mutants: those to be tried.
        parity: Python of the second environment; None leaves its tests out.
        whole: all of the list, for which the promised rates hold; of a part each must be killed.
        root: the tree that is copied.

    Raises:
        CannotTell: a test fails without any mutant.
    """
    verdicts: collections.Counter[str] = collections.Counter()
    faults = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        copy = Copy(Path(folder), root)
        tests = sorted({test for mutant in mutants for test in mutant.default})
        failure = copy.failure("no mutant", Path(sys.executable), tests) if tests else None
        if failure:
            raise CannotTell(f"a test fails without any mutant\n{failure[-2000:]}")
        for mutant in mutants:
            start = time.monotonic()
            try:
                verdict = judge(copy, mutant, parity)
            except CannotTell as fault:
                verdict = "cannot tell"
                faults.append(str(fault))
            verdicts[verdict] += 1
            print(f"{verdict:16} {mutant.name} ({time.monotonic() - start:.0f} s)", flush=True)
    print()
    if faults:
        print("\n".join(faults))
        return 2
    below = []
    if sum(verdicts.values()) > verdicts["equivalent"]:
        for name, rate in rates(verdicts, parity is not None).items():
            print(f"{name}: {rate:.1%} killed, {PROMISED[name]:.0%} promised")
            below += [name] if rate < (PROMISED[name] if whole else 1.0) else []
    if parity is None:
        print(f"no environment {PARITY.parent.parent.name}: its tests were not tried")
    return int(bool(below))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; see the top of this file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", help="these mutants")
    parser.add_argument("--list", action="store_true", help="names and reasons, and nothing is run")
    parser.add_argument("--parity", type=Path, default=PARITY, help="Python of that environment")
    args = parser.parse_args(arguments)
    mutants = load()
    unknown = set(args.only or ()) - {mutant.name for mutant in mutants}
    if unknown:
        parser.error(f"no mutant is called {', '.join(sorted(unknown))}; --list names them")
    if args.list:
        for mutant in mutants:
            print(f"{mutant.name}\n    {mutant.file}: {mutant.why}")
        return 0
    chosen = [mutant for mutant in mutants if not args.only or mutant.name in args.only]
    try:
        return run(chosen, args.parity if args.parity.is_file() else None, not args.only)
    except CannotTell as fault:
        print(fault)
        return 2


if __name__ == "__main__":
    sys.exit(main())
