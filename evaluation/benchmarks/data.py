"""The records of a benchmark: from the files as they are published, or stand-ins we can ship.

A stand-in takes pictures and questions of the same kind from the embedded data set, so that a whole
suite can be run without any file of others. Its scores never carry the benchmark's name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from PIL import Image

from zv_jax.data.images import addresses as pictures
from zv_jax.data.images import decode as images
from zv_jax.data.public import catalogue
from zv_jax.data.records.record import TASKS, ImageRef, Record
from zv_jax.data.sources.open import open_source
from zv_jax.errors import DataError
from zv_jax.evaluation.benchmarks.spec import Benchmark

STAND_IN = "zv_openmoji"
PEOPLE = 10  # answers of a VQA question
_SIMILAR = {
    "caption": "caption",
    "retrieval": "caption",
    "vqa": "vqa",
    "gqa": "vqa",
    "choice": "mc_vqa",
    "judged": "conversation",
}


@dataclass(frozen=True)
class Data:
    """What a benchmark is run on.

    Attributes:
      records: in the order of the files, those of `limit` only.
      expected: how many the whole split has.
      picture: finds a picture.
      name: of the benchmark in results; of a stand-in, with its source before it.
    """

    records: tuple[Record, ...]
    expected: int
    picture: Callable[[ImageRef], Image.Image]
    name: str


def from_files(benchmark: Benchmark, root: str | Path, limit: int = 0) -> Data:
    """Reads ``root/<data set>`` in the published layout.

    Raises:
      DataError: a file is missing or not as published, or the split has another size.
    """
    folder = Path(root) / benchmark.dataset
    records = list(catalogue.read(benchmark.dataset, folder, benchmark.split))
    if len(records) != benchmark.expected:
        raise DataError(
            f"{benchmark.title} has {len(records)} records here",
            where=str(folder),
            expected=f"{benchmark.expected}, the published size of {benchmark.split}",
            fix="get the whole split; for a number on a part use --suite.limit",
        )
    kept = tuple(records[: limit or None])

    def picture(ref: ImageRef) -> Image.Image:
        return pictures.load(folder, ref, images.KEPT)  # the model knows what it makes of it

    return Data(kept, len(records), picture, benchmark.name)


def stand_in(benchmark: Benchmark, path: str = "", limit: int = 0) -> Data:
    """Records of the same kind and language from the test split of the embedded data set.

    Raises:
      DataError: it has none.
    """
    source = open_source(STAND_IN, path, "test")
    kind = TASKS.index(_SIMILAR[benchmark.kind])
    facts = source.facts
    wanted = (facts.task == kind) & (facts.lang == ("en", "zh").index(benchmark.lang))
    found = [i for i in wanted.nonzero()[0].tolist() if facts.images[i]]
    if not found:
        raise DataError(
            f"no record stands in for {benchmark.title}",
            where=STAND_IN,
            expected=f"test records of task {_SIMILAR[benchmark.kind]!r} in {benchmark.lang}",
        )
    records = [source.record(i) for i in found[: limit or None]]
    if benchmark.kind == "vqa":  # where ten people were asked, this data set knows the truth
        records = [replace(r, answers=_answers(r)[:1] * PEOPLE) for r in records]
    elif benchmark.kind != "choice":
        records = [replace(r, answers=_answers(r)) for r in records]
    return Data(tuple(records), len(found), source.picture, f"{STAND_IN}:{benchmark.name}")


def _answers(record: Record) -> tuple[str, ...]:
    return record.answers or (record.turns[-1].text,)
