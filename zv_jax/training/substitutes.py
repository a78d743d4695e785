"""The list of every sample that could not be used: one file for each process of the run."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from zv_jax.data.faults import Fault
from zv_jax.training.jsonl import JsonLines, Row, read_jsonl


class Substitutes:
    """`substitutes.jsonl` of process 0, `substitutes-1.jsonl` of process 1, and so on.

    A row holds the step and the fields of `Fault`. Together the files list every sample of the run
    once for each time it was drawn, whatever ended it in between and on how many processes it went
    on.
    """

    def __init__(self, workdir: Path, process: int, processes: int):
        self._workdir, self._process, self._processes = Path(workdir), process, processes
        self._own = JsonLines(self._file(process))

    def start(self, step: int) -> None:
        """Drops what steps from `step` on have listed, since these are made again.

        Process 0 sees to the files of processes that an earlier start had and this one lacks.
        """
        self._own.keep(lambda row: row["step"] < step)
        if self._process == 0:
            for path in self._files():
                if path not in map(self._file, range(self._processes)):
                    JsonLines(path).keep(lambda row: row["step"] < step)

    def add(self, step: int, fault: Fault) -> Row:
        """Lists a sample of batch `step`; returns its fields."""
        row = fault.as_row()
        self._own.append({"step": step, **row})
        return row

    def counts(self) -> dict[str, int]:
        """How many were listed of each source, by all processes."""
        rows = (row for path in self._files() for row in read_jsonl(path))
        return dict(Counter(row["source"] for row in rows))

    def _file(self, process: int) -> Path:
        return self._workdir / (f"substitutes-{process}.jsonl" if process else "substitutes.jsonl")

    def _files(self) -> list[Path]:
        return sorted(self._workdir.glob("substitutes*.jsonl"))
