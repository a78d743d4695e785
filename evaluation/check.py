"""`zv eval check-data`: what is missing for a suite, before anything runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from zv_jax.data.images import addresses
from zv_jax.data.public import catalogue
from zv_jax.data.records.record import ImageRef
from zv_jax.errors import DataError
from zv_jax.evaluation.task import Task
from zv_jax.tables import align


@dataclass(frozen=True)
class Finding:
    """What was found of one benchmark's files; `problem` is empty where all is there."""

    benchmark: str
    folder: str
    records: int
    expected: int
    images_missing: int
    first_missing: str
    problem: str

    @property
    def complete(self) -> bool:
        """Whether the benchmark can be run as it is."""
        return not self.problem and not self.images_missing and self.records == self.expected


def check(tasks: Sequence[Task], root: str | Path) -> list[Finding]:
    """Reads all annotation files and looks for every image; nothing is decoded."""
    return [_check(task, Path(root) / task.dataset) for task in tasks]


def _check(task: Task, folder: Path) -> Finding:
    records, missing, first = 0, 0, ""
    seen: set[str] = set()
    try:
        for record in catalogue.read(task.dataset, folder, task.split):
            records += 1
            for ref in record.images:
                trouble = _trouble(folder, ref, seen)
                missing += bool(trouble)
                first = first or trouble
    except DataError as error:
        where = f" ({error.where})" if error.where else ""
        problem = f"{error.what}{where}"
        return Finding(task.name, str(folder), records, task.expected, missing, first, problem)
    return Finding(task.name, str(folder), records, task.expected, missing, first, "")


def _trouble(folder: Path, ref: ImageRef, seen: set[str]) -> str:
    """The path of an image file that is not there; each is looked for once."""
    if ref.path is None or ref.path in seen:
        return ""
    seen.add(ref.path)
    path = addresses.locate(folder, ref.path)
    return "" if path.is_file() else str(path)


def render(findings: Sequence[Finding]) -> str:
    """One line for each benchmark, and below it what is missing and how to get it."""
    heads = [
        (
            "ok" if f.complete else "MISSING",
            f.benchmark,
            f"{f.records}/{f.expected} records",
            f.folder,
        )
        for f in findings
    ]
    lines = []
    for head, f in zip(align(heads), findings, strict=True):
        lines.append(head)
        if f.problem:
            lines.append(f"         {f.problem}")
        if f.images_missing:
            lines.append(f"         {f.images_missing} images, the first {f.first_missing}")
    return "\n".join(lines)
