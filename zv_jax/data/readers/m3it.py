"""M3IT: instructions for forty tasks, images as base64 inside the lines of the files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from zv_jax.data.readers import files
from zv_jax.data.readers.base import Request, assistant, each, reader, user
from zv_jax.data.readers.files import Row
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.text import language

TASKS = {"captioning": "caption", "reasoning": "reason", "generation": "conversation"}
"""Task by folder; everything else is answered in a word or two."""
OVERLAPS = frozenset(
    "coco coco-cn coco-goi coco-itm coco-text vqa-v2 gqa okvqa a-okvqa science-qa text-vqa "
    "textcap ocr-vqa multi30k".split()
)
"""Subsets whose images or questions the evaluations of the paper use too."""
_FIELD = "image_base64_str"


@reader("m3it")
def m3it(request: Request) -> Iterator[Record]:
    """All tasks of a split, less those in `OVERLAPS` unless `request.overlaps`."""
    split = request.one_of(["train", "val", "test"])
    for path in files.find_all(request.root, f"data/*/*/{split}.jsonl", f"*/*/{split}.jsonl"):
        if request.overlaps or path.parent.name not in OVERLAPS:
            yield from _subset(request, path)


def _subset(request: Request, path: Path) -> Iterator[Record]:
    category, name = path.parts[-3:-1]
    file = path.relative_to(request.root).as_posix()
    task = TASKS.get(category, "vqa")
    for offset, row in files.json_lines_at(path):
        place = f"{file}#{offset}"
        yield from each([row], lambda row, p=place: _instance(request, row, p, task, name))


def _instance(request: Request, row: Row, place: str, task: str, name: str) -> Iterator[Record]:
    outputs = str(row["outputs"]).strip()
    images = row[_FIELD]
    count = 1 if isinstance(images, str) else len(images)
    if not outputs:
        return
    asked = "\n".join(t for t in (row["instruction"].strip(), row["inputs"].strip()) if t)
    yield request.record(
        f"{name}/{row.number}",
        task,
        language.of(row["instruction"] + outputs),
        [ImageRef(shard_key=f"{place}:{item}:{_FIELD}") for item in range(count)],
        [user(asked), assistant(outputs)],
        meta={"question_type": name},
    )
