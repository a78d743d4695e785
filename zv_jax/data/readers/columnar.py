"""Tables in columns: Parquet, Hugging Face data sets saved to disk, TensorFlow Datasets.

Pictures inside the tables stay there: a record holds their row and column.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from zv_jax.data import records as records_lib
from zv_jax.data.pictures import arrow_table, tfds_rows
from zv_jax.data.readers import files
from zv_jax.data.readers.base import Request, each, reader
from zv_jax.data.readers.boxes import from_yxyx
from zv_jax.data.readers.files import Row
from zv_jax.data.readers.own import from_fields, one
from zv_jax.data.records import ImageRef, Object, Record
from zv_jax.errors import DataError


@reader("parquet")
def parquet(request: Request) -> Iterator[Record]:
    """Parquet files, as Hugging Face serves data sets."""
    import pyarrow
    import pyarrow.parquet

    root, split = request.root, request.split
    patterns = (
        f"{split}-*.parquet",
        f"{split}.parquet",
        f"{split}/*.parquet",
        f"data/{split}-*.parquet",
    )
    paths = (
        [root]
        if root.is_file()
        else request.unnamed(files.find_all(root, *(patterns if split else ()), "*.parquet"))
    )
    base = root.parent if root.is_file() else root
    for path in paths:
        try:
            table = pyarrow.parquet.ParquetFile(path)
        except (pyarrow.ArrowException, OSError) as error:
            raise files.not_as_published(str(path), f"no Parquet file ({error})") from None
        pictures = _pictures(table.schema_arrow)
        plain = [n for n in table.schema_arrow.names if n not in pictures]
        name, number = path.relative_to(base).as_posix(), 0
        for batch in table.iter_batches(columns=plain):
            for row in batch.to_pylist():
                yield from _inline(request, path, name, number, row, pictures)
                number += 1


def _pictures(schema: Any) -> list[str]:
    """Columns of encoded pictures: binary, or Hugging Face's {bytes, path}."""
    import pyarrow

    def holds_bytes(kind: Any) -> bool:
        if pyarrow.types.is_struct(kind):
            return any(f.name == "bytes" and holds_bytes(f.type) for f in kind)
        return pyarrow.types.is_binary(kind) or pyarrow.types.is_large_binary(kind)

    return [field.name for field in schema if holds_bytes(field.type)]


def _inline(
    request: Request, path: Path, name: str, number: int, row: dict, pictures: list[str]
) -> Iterator[Record]:
    fields = files.rows_of(row, f"{path} row {number}", number)
    native = f"{path.stem}/{number}"
    if not pictures:
        return each([fields], lambda row: [from_fields(request, row, native)])
    images = [ImageRef(shard_key=f"{name}#{number}:{column}") for column in pictures]
    return one(request, fields, native, images)


@reader("hf_disk")
def hf_disk(request: Request) -> Iterator[Record]:
    """What `datasets` writes with `save_to_disk`: one data set, or a folder per split."""
    root = request.root
    if (root / "dataset_dict.json").is_file():
        splits = files.json_file(root / "dataset_dict.json")["splits"]
        root = root / request.one_of(splits)
    state = files.json_file(files.find(root, "state.json"))
    if root == request.root and state.get("_split"):
        request.one_of([str(state["_split"]).partition("[")[0]])
    if state.get("_indices_files"):
        raise DataError(
            "a selection of rows, not the rows themselves",
            where=str(root),
            expected="a data set without an index",
            fix="dataset.flatten_indices().save_to_disk(...)",
        )
    for part in state["_data_files"]:
        path = root / part["filename"]
        table = arrow_table(str(path))
        pictures = _pictures(table.schema)
        plain = table.drop_columns(pictures)
        name, number = path.relative_to(request.root).as_posix(), 0
        for batch in plain.to_batches(1000):
            for row in batch.to_pylist():
                yield from _inline(request, path, name, number, row, pictures)
                number += 1


@reader("tfds")
def tfds_source(request: Request) -> Iterator[Record]:
    """A data set prepared by TensorFlow Datasets as ArrayRecord; `root` holds its features.json.

    Features are found by name like columns; `objects` with `bbox` become objects. Pictures are
    addressed by row; TensorFlow is not needed.
    """
    import tensorflow_datasets as tfds

    files.find(request.root, "dataset_info.json")
    builder = tfds.builder_from_directory(request.root)
    split = request.one_of(builder.info.splits)
    features = builder.info.features
    if "record" in features:
        yield from _exported(split, request.root)
        return
    pictures = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    rows = tfds_rows(str(request.root), split, tuple(pictures))
    for number in range(len(rows)):
        row = {k: v for k, v in rows[number].items() if k not in pictures}
        where = f"{request.root} {split} row {number}"
        fields = Row({k: _plain(v, features[k]) for k, v in row.items()}, where, number)
        key = f"dataset_info.json#{split}:{number}"
        images = [ImageRef(shard_key=f"{key}:{name}") for name in pictures]
        things = fields.pop("objects", None)
        _flatten(fields)
        for record in one(request, fields, number, images):
            yield _with_objects(record, things)


def _exported(split: str, root: Path) -> Iterator[Record]:
    """Records that `tfds_export` wrote."""
    rows = tfds_rows(str(root), split, ("images",))
    for number in range(len(rows)):
        record = records_lib.loads(bytes(rows[number]["record"]), f"{root} {split} row {number}")
        images = tuple(
            dataclasses.replace(
                ref, shard_key=f"dataset_info.json#{split}:{number}:images:{ref.shard_key}"
            )
            for ref in record.images
        )
        yield dataclasses.replace(record, images=images)


def _plain(value: Any, feature: Any) -> Any:
    """A feature's value without numpy: text decoded, class labels by name, sequences as lists."""
    inner = getattr(feature, "feature", feature)
    if isinstance(value, dict):
        return {k: _plain(v, inner[k]) for k, v in value.items()}
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [_plain(v, inner) for v in value]
    if hasattr(inner, "int2str"):
        return inner.int2str(int(value))
    return value.decode() if isinstance(value, bytes) else value


def _flatten(fields: Row) -> None:
    """`captions: {id, text}`, as coco_captions has them, becomes `caption: [texts]`."""
    captions = fields.get("captions")
    if isinstance(captions, dict) and "text" in captions:
        fields["caption"] = captions["text"]


def _with_objects(record: Record, things: Any) -> Record:
    if not isinstance(things, dict) or "bbox" not in things:
        return record
    labels = things.get("label", [""] * len(things["bbox"]))
    boxes = [
        (from_yxyx(box), str(label)) for box, label in zip(things["bbox"], labels, strict=True)
    ]
    objects = tuple(Object(box, label) for box, label in boxes if box is not None and label)
    return dataclasses.replace(record, objects=objects)
