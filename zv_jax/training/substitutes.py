"""Lists of replaced and shortened samples, one file for each process of the run.

Together, the files of a kind list every such sample once for each time it was drawn, however often
the run was stopped and on however many processes it resumed.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from zv_jax.data.pipeline import bad_samples
from zv_jax.data.pipeline.bad_samples import BadSample
from zv_jax.files import JsonLines, Row, read_jsonl


class _Lists:
    """`NAME.jsonl` of process 0, `NAME-1.jsonl` of process 1, and so on; each row has a `step`."""

    name: str

    def __init__(self, workdir: Path, process: int, processes: int):
        self._workdir, self._process, self._processes = Path(workdir), process, processes
        self._own = JsonLines(self._file(process))

    def start(self, step: int) -> None:
        """Drops rows of steps from `step` on, since these run again.

        Process 0 also trims the files of processes that an earlier start had and this one lacks.
        """
        self._own.keep(lambda row: row["step"] < step)
        if self._process == 0:
            for path in self._files():
                if path not in map(self._file, range(self._processes)):
                    JsonLines(path).keep(lambda row: row["step"] < step)

    def _file(self, process: int) -> Path:
        return self._workdir / (f"{self.name}-{process}.jsonl" if process else f"{self.name}.jsonl")

    def _files(self) -> list[Path]:
        return sorted(self._workdir.glob(f"{self.name}*.jsonl"))

    def _rows(self) -> list[Row]:
        return [row for path in self._files() for row in read_jsonl(path)]


class Substitutes(_Lists):
    """Lists every unusable sample; a row has the fields of `BadSample`."""

    name = "substitutes"

    def add(self, step: int, fault: BadSample) -> Row:
        """Lists a sample of batch `step`; returns its fields."""
        row = fault.as_row()
        self._own.append({"step": step, **row})
        return row

    def counts(self) -> dict[str, int]:
        """The number of listed samples of each source, over all processes."""
        return dict(Counter(row["source"] for row in self._rows()))


class Shortened(_Lists):
    """`shortened.jsonl`: counts of samples that were shortened to fit, by source.

    These are not faults and may be many, so a row sums up the steps since the previous row.
    """

    name = "shortened"

    def __init__(self, workdir: Path, process: int, processes: int):
        super().__init__(workdir, process, processes)
        self._step, self._counts = 0, Counter[tuple[str, str]]()

    def add(self, step: int, counts: bad_samples.Shortened) -> None:
        """Counts batch `step`; `flush` writes the counts."""
        self._step = step
        self._counts.update(counts)

    def flush(self) -> None:
        """Writes the counts. Call it before a checkpoint: a run that resumes from there drops the
        rows of later steps."""
        if self._counts:
            self._own.append({"step": self._step, "counts": _nested(self._counts)})
            self._counts = Counter()

    def counts(self) -> dict[str, dict[str, int]]:
        """{source: {one of `bad_samples.SHORTENED`: count}}, over all processes."""
        found: Counter[tuple[str, str]] = Counter()
        for row in self._rows():
            for source, kinds in row["counts"].items():
                found.update({(source, kind): count for kind, count in kinds.items()})
        return _nested(found)


def _nested(counts: bad_samples.Shortened) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for (source, kind), count in sorted(counts.items()):
        found.setdefault(source, {})[kind] = count
    return found
