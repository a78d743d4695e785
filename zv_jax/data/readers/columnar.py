"""Tables in columns: Parquet, Hugging Face data sets saved to disk, TensorFlow Datasets.

Images inside the tables stay there: a record holds their row and column.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.data.images.addresses import locate, tfds_rows
from zv_jax.data.readers import files, rows, tables
from zv_jax.data.readers.base import Request, reader
from zv_jax.data.readers.boxes import from_yxyx
from zv_jax.data.readers.cells import Entry
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.storage import arrow, tfds_folders
from zv_jax.data.storage import parquet as parquet_lib
from zv_jax.errors import DataError

PARQUET = "Parquet file"


@reader("parquet")
def parquet(request: Request) -> Iterator[Record]:
    """Parquet files, as Hugging Face serves data sets."""
    return rows.records(request, _parquet(request))


def _parquet(request: Request) -> Iterator[Entry]:
    for path in tables.files_of(request, ".parquet"):
        with whole(path, PARQUET):
            table = parquet_lib.Table(path)
            batches = table.batches()
        yield from _entries(path, tables.base(request), table.schema, batches)


@contextlib.contextmanager
def whole(path: Path, kind: str) -> Iterator[None]:
    """Errors of the libraries that read tables as a `DataError`: they raise nearly anything."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"no {kind}, or a damaged one ({type(error).__name__}: {error})"[:300],
            where=str(path),
            expected=f"a complete {kind}",
            fix="write or download it again",
        ) from None


def table_rows(path: Path, batches: Iterable[Any], kind: str = PARQUET) -> Iterator[dict[str, Any]]:
    """The rows of batches of a table."""
    batches = iter(batches)
    while True:
        with whole(path, kind):
            batch = next(batches, None)
            if batch is None:
                return
            rows = _readable(batch).to_pylist()
        yield from rows


def _entries(path: Path, base: Path, schema: Any, batches: Iterable[Any]) -> Iterator[Entry]:
    """The rows of a table of Arrow types; images stay in it and are addressed by row and column."""
    files.check_names(schema.names, str(path))
    labels, name = _labels(schema, str(path)), path.relative_to(base).as_posix()
    for number, row in enumerate(table_rows(path, batches)):
        yield Entry(
            {column: _value(value, labels.get(column)) for column, value in row.items()},
            path.name,
            f"{path} row {number}",
            f"{path.stem}/{number}",
            inside=functools.partial(_cell, f"{name}#{number}"),
        )


def _value(value: Any, classes: list[str] | None) -> Any:
    """A class by its name, and a whole number as one: pandas stores integers beside nulls as
    floats."""
    if classes is not None and isinstance(value, int) and 0 <= value < len(classes):
        return classes[value]
    whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**53
    return int(value) if whole else value


def _cell(place: str, path: tuple[str | int, ...]) -> str:
    """The address of a value: `<file>#<row>:<column>`, and `/` and a pointer within the cell."""
    column, *inner = map(str, path)
    return f"{place}:{'/'.join([column, *inner])}"


def _labels(schema: Any, where: str) -> dict[str, list[str]]:
    """Names of the classes of columns that Hugging Face stores as numbers."""
    where = f"{where}, metadata of Hugging Face"
    found: Any = json_input.parse((schema.metadata or {}).get(b"huggingface", b"{}"), where)
    for key in ("info", "features"):
        found = found.get(key) if isinstance(found, dict) else None
    classes = {
        column: feature.get("names")
        for column, feature in (found if isinstance(found, dict) else {}).items()
        if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
    }
    for column, names in classes.items():
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise files.not_as_published(where, f"classes of {column!r} without their names")
    return classes


def _readable(batch: Any) -> Any:
    """The batch with short floats as they were written: 0.1, not 0.10000000149."""
    import pyarrow

    short = (pyarrow.float32(), pyarrow.float16())
    for number, field in enumerate(batch.schema):
        if field.type in short:
            column = batch.column(number).cast(pyarrow.string()).cast(pyarrow.float64())
            batch = batch.set_column(number, field.name, column)
    return batch


@reader("hf_disk")
def hf_disk(request: Request) -> Iterator[Record]:
    """What `datasets` writes with `save_to_disk`: one data set, or a folder per split."""
    return rows.records(request, _hf_disk(request))


def _hf_disk(request: Request) -> Iterator[Entry]:
    root = request.root
    if (root / "dataset_dict.json").is_file():
        splits = files.json_file(root / "dataset_dict.json").of("splits", list)
        root = root / request.one_of(map(str, splits))
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
    parts = [part for part in state.of("_data_files", list) if isinstance(part, files.Row)]
    for part in parts:
        path = files.find(root, _inside(root, part.of("filename", str)))
        with whole(path, "Arrow file"):
            table = arrow.Table(path)
            batches = table.batches()
        yield from _entries(path, request.root, table.schema, batches)


def _inside(root: Path, name: str) -> str:
    """`name`, which does not lead out of the folder."""
    return locate(root, name).relative_to(os.path.normpath(root)).as_posix()


@reader("tfds")
def tfds_source(request: Request) -> Iterator[Record]:
    """A data set prepared by TensorFlow Datasets as ArrayRecord; `root` holds its features.json.

    Features are found by name like columns; `objects` with `bbox` become objects. Images are
    addressed by row; TensorFlow is not needed.
    """
    files.find(request.root, "dataset_info.json")
    builder = tfds_folders.builder(request.root)
    split = request.one_of(builder.info.splits)
    features = builder.info.features
    if "record" in features:
        yield from _exported(split, request.root)
        return
    yield from rows.records(request, _features(request, builder, split))


def _features(request: Request, builder: Any, split: str) -> Iterator[Entry]:
    import tensorflow_datasets as tfds

    features, root = builder.info.features, request.root
    encoded = [k for k, f in features.items() if isinstance(f, tfds.features.Image)]
    for number, found in enumerate(_stored(root, split, tuple(encoded))):
        with whole(root, "data set of TensorFlow Datasets"):
            row = {k: _plain(v, features[k]) for k, v in found.items() if k not in encoded}
            if isinstance(row.get("objects"), dict) and "bbox" in row["objects"]:
                row["objects"] = _objects(row["objects"])
        key = f"dataset_info.json#{split}:{number}"
        images = tuple(ImageRef(shard_key=f"{key}:{name}") for name in encoded)
        where = f"{root} {split} row {number}"
        yield Entry(row, f"{root.name} {split}", where, number, images, identity="place")


def _stored(root: Path, split: str, encoded: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """`tfds_rows` in order."""
    with whole(root, "data set of TensorFlow Datasets"):
        found = tfds_rows(str(root), split, encoded)
        count = len(found)
    for number in range(count):
        with whole(root, "data set of TensorFlow Datasets"):
            row = found[number]
        yield row


def _exported(split: str, root: Path) -> Iterator[Record]:
    """Records that `tfds_export` wrote."""
    for number, found in enumerate(_stored(root, split, ("images",))):
        with whole(root, "data set of TensorFlow Datasets"):
            line = bytes(found["record"])
        record = records_lib.loads(line, f"{root} {split} row {number}")
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


def _objects(things: dict[str, Any]) -> list[dict[str, Any]]:
    """Objects with a label and an area, as records have them."""
    labels = things.get("label", [""] * len(things["bbox"]))
    boxes = [
        (from_yxyx(box), str(label)) for box, label in zip(things["bbox"], labels, strict=True)
    ]
    return [{"box": box, "label": label} for box, label in boxes if box is not None and label]
