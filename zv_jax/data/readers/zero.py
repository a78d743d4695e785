"""The four Chinese matching and retrieval sets of the Zero corpus: ICM, IQM, ICR, IQR.

IC* texts are captions, IQ* texts are what people typed into a search box.
"""

from __future__ import annotations

from collections.abc import Iterator

from zv_jax.data.readers import files
from zv_jax.data.readers.base import Request, each, reader, texts, user
from zv_jax.data.readers.files import Row
from zv_jax.data.records.record import ImageRef, Record

_ANSWER = {1: "是", 0: "否"}


def _rows(request: Request) -> Iterator[Row]:
    split = request.one_of(["train", "val", "test"])
    name = request.name
    return files.json_lines(
        files.find(
            request.root,
            f"{name.upper()}_{split}.jsonl",
            f"{name}_{split}.jsonl",
            f"{split}.jsonl",
            f"{name.upper()}_{split}.txt",
        )
    )


def _caption(request: Request, row: Row, native: str, image: ImageRef) -> Record:
    query = request.name in ("iqm", "iqr")
    meta = {"template": "query"} if query else {}
    return request.record(native, "caption", "zh", [image], answers=texts([row["text"]]), meta=meta)


@reader("icm", "iqm")
def matching(request: Request) -> Iterator[Record]:
    """Does the text fit the image? Texts of pairs that do are captions or queries as well."""

    def make(row: Row) -> Iterator[Record]:
        image = ImageRef(path=row["image_path"])
        label = int(row["label"])
        yield request.record(
            f"{row.number}#match",
            "match",
            "zh",
            [image],
            [user(row["text"])],
            answers=(_ANSWER[label],),
            meta={"template": "match"},
        )
        if label:
            yield _caption(request, row, f"{row.number}#caption", image)

    return each(_rows(request), make)


@reader("icr", "iqr")
def retrieval(request: Request) -> Iterator[Record]:
    """Pairs that fit."""

    def make(row: Row) -> Iterator[Record]:
        yield _caption(request, row, str(row.number), ImageRef(path=row["image_path"]))

    return each(_rows(request), make)
