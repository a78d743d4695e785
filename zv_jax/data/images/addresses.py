"""From an image reference to the bytes of the image: a file below a root, or a place in a shard.

A shard key is `<file>#<address>`, the file relative to the same root:

    pairs/00000.tar#1536:20481          offset and size of a member of a tar (WebDataset)
    data/train.parquet#17:image         row and column of a Parquet file
    data/train.parquet#17:images/0      likewise, and a place within the cell
    data/data-0.arrow#17:image          row and column of a Hugging Face data set on disk
    coco/train.jsonl#8192:0:field       line at a byte offset, item and field with base64 text
    mine.jsonl#8192:/images/0/url       line, and a JSON pointer to base64 text or a data: URL
    dataset_info.json#train:17:image    split, row and feature of a TensorFlow data set (and item)
    00000.images.array_record#17      entry of a file that `zv data prepare` wrote
"""

from __future__ import annotations

import base64
import errno
import functools
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from zv_jax import json_input
from zv_jax.data.images import decode as images_lib
from zv_jax.data.images.decode import ImageError
from zv_jax.data.records.record import ImageRef
from zv_jax.data.storage import array_records, arrow, parquet, tfds_folders
from zv_jax.errors import DataError


def load(
    root: str | Path, ref: ImageRef, transparency: str = images_lib.TRANSPARENCY[0]
) -> Image.Image:
    """The image, RGB, turned as its EXIF orientation says; see `images.decode`.

    Raises:
      DataError: the reference leads out of `root` or is an address that cannot be understood.
      ImageError: there is no such image, or it cannot be decoded.
    """
    if ref.path is not None:
        return images_lib.decode(_file(root, ref.path), transparency=transparency)
    return images_lib.decode(read(root, ref), ref.shard_key, transparency)


def read(root: str | Path, ref: ImageRef) -> bytes:
    """The encoded image; errors as in `load`."""
    if ref.path is not None:
        return _file(root, ref.path).read_bytes()
    if ref.shard_key is None:
        raise ImageError(
            "a picture that is not a file",
            where=str(ref.url),
            expected="a path or a shard key",
            fix="download it and set its path",
        )
    name, address = parted(ref.shard_key)
    file = _shard(root, name)
    reader = _READERS.get(file.suffix)
    if reader is None or not address:
        raise DataError(
            f"an address that cannot be read: {ref.shard_key!r}",
            where=str(root),
            expected="<file>#<address> with a file of " + ", ".join(_READERS),
            fix="make the records again with `zv data convert`",
        )
    try:
        return reader(file, address)
    except FileNotFoundError:
        raise ImageError("shard not found", where=str(file), expected="a shard file") from None
    except DataError:
        raise
    except Exception as error:  # the libraries that read tables raise nearly anything
        raise ImageError(
            f"no picture at this address ({type(error).__name__}: {error})"[:300],
            where=ref.shard_key,
            expected="the shard that the records were made from",
            fix="make the records again with `zv data convert`",
        ) from None


def parted(key: str) -> tuple[str, str]:
    """The file of a shard key, and the address in it, either of which may hold a `#` too."""
    for mark in re.finditer("#", key):
        if key.endswith(_SUFFIXES, 0, mark.start()):
            return key[: mark.start()], key[mark.end() :]
    name, _, address = key.partition("#")
    return name, address


def _file(root: str | Path, path: str) -> Path:
    """`locate`, of a file that is there."""
    found = locate(root, path)
    problem = why_unreadable(found)
    if problem:
        raise ImageError(
            problem,
            where=str(found),
            expected=f"an image file below {root}",
            fix="correct the path, or give the folder of the images as image_root",
        )
    return found


def locate(root: str | Path, path: str) -> Path:
    """The file `path` names below `root`.

    Symbolic links are followed, since image folders often are such, so a copied data set may bring
    links to any file; what is no image is refused when it is decoded. `..` and absolute paths must
    not lead out of `root`: a record file alone can never name other files of the machine.

    Raises:
      DataError: it leads out of `root`.
    """
    base = os.path.normpath(root)
    full = os.path.normpath(os.path.join(base, path))
    if os.path.commonpath([os.path.abspath(base), os.path.abspath(full)]) != os.path.abspath(base):
        raise DataError(
            f"picture {path!r} lies outside the image root",
            where=base,
            expected="a path below the image root",
            fix="set the source's image_root to the folder that holds the pictures",
        )
    return Path(full)


@functools.lru_cache(1024)
def _shard(root: str | Path, name: str) -> Path:
    """`locate` for files that hold many images each."""
    file = locate(root, name)
    if why_unreadable(file) == _NO_FILE:
        raise ImageError(_NO_FILE, where=str(file), expected="a shard file")
    return file


_NO_FILE = "the picture is no file"


def why_unreadable(path: Path) -> str | None:
    """Why there is no file at `path`, or None if there is one."""
    try:
        path.stat()
    except ValueError:  # it holds a NUL
        return "the picture has a name that no file can have"
    except OSError as error:
        if error.errno == errno.ELOOP:
            return "the picture is a loop of symbolic links"
        if error.errno in (errno.ENOENT, errno.ENOTDIR):
            return "the picture is not there (file not found)"
        return f"the picture cannot be opened ({error.strerror})"
    return None if path.is_file() else _NO_FILE


def _tar(file: Path, address: str) -> bytes:
    offset, size = (_number(part) for part in address.split(":"))
    if offset + size > file.stat().st_size:
        raise ValueError(f"the file ends before byte {offset + size}")
    with file.open("rb") as handle:
        handle.seek(offset)
        return handle.read(size)


def _number(text: str) -> int:
    """A place in a shard; a negative one would count from its end."""
    number = int(text)
    if number < 0:
        raise ValueError(f"{number} is no place")
    return number


def _base64(file: Path, address: str) -> bytes:
    offset, _, inner = address.partition(":")
    with file.open("rb") as handle:
        handle.seek(_number(offset))
        row = json_input.parse(handle.readline(json_input.MAX_LINE + 1), f"{file} byte {offset}")
    if inner.startswith("/"):
        value = _within(row, inner[1:].split("/"))
        if not isinstance(value, str):
            raise TypeError("the value is no text")
        return base64.b64decode(value.partition(",")[2] if value.startswith("data:") else value)
    item, field = inner.split(":")
    value = row[field]
    return base64.b64decode(value if isinstance(value, str) else value[_number(item)])


def _within(value: Any, pointer: Sequence[str]) -> Any:
    """The value a JSON pointer leads to."""
    for part in pointer:
        name = part.replace("~1", "/").replace("~0", "~")
        value = value[_number(name)] if isinstance(value, list) else value[name]
    return value


def _parquet(file: Path, address: str) -> bytes:
    table = _parquet_file(str(file))
    row, column, inner = _place(address, table.schema.names)
    group = table.group(row)
    cells = _parquet_column(str(file), group, column)
    return _cell(_within(cells[row - table.starts[group]].as_py(), inner))


def _place(address: str, columns: Sequence[str]) -> tuple[int, str, list[str]]:
    """Row, column, and where within the cell, of the address of a cell."""
    row, _, column = address.partition(":")
    if column in columns:
        return _number(row), column, []
    column = next((name for name in columns if address.startswith(f"{row}:{name}/")), None)
    if column is None:
        raise KeyError(address)
    return _number(row), column, address.removeprefix(f"{row}:{column}/").split("/")


@functools.lru_cache(16)
def _parquet_file(file: str) -> parquet.Table:
    return parquet.Table(file)


@functools.lru_cache(4)
def _parquet_column(file: str, group: int, column: str) -> Any:
    return _parquet_file(file).column(group, column)


def _arrow(file: Path, address: str) -> bytes:
    table = _arrow_table(str(file)).data
    row, column, inner = _place(address, table.column_names)
    return _cell(_within(table.column(column)[row].as_py(), inner))


@functools.lru_cache(16)
def _arrow_table(file: str) -> arrow.Table:
    return arrow.Table(file)


def _tfds(file: Path, address: str) -> bytes:
    split, row, feature, *item = address.split(":")
    value = tfds_rows(str(file.parent), split, (feature,))[_number(row)][feature]
    return _cell(value[_number(item[0])] if item else value)


@functools.lru_cache(8)
def tfds_rows(folder: str, split: str, encoded: tuple[str, ...]) -> Any:
    """Rows of a TensorFlow data set with the features `encoded` as they are stored."""
    import tensorflow_datasets as tfds

    class Encoded(tfds.decode.SkipDecoding):
        """`SkipDecoding` that also works for a feature that is a list."""

        def decode_batch_example_np(self, examples: Any) -> Any:
            return list(examples)

    decoders = {name: Encoded() for name in encoded}
    return tfds_folders.builder(folder).as_data_source(split=split, decoders=decoders)


def _array_record(file: Path, address: str) -> bytes:
    return array_records.entry(file, _number(address))


def _cell(value: Any) -> bytes:
    """Bytes of a cell: plain, or the `{bytes, path}` that Hugging Face writes."""
    data = value["bytes"] if isinstance(value, dict) else value
    if not isinstance(data, bytes):
        raise ValueError("the cell holds no bytes")
    return data


_READERS = {
    ".tar": _tar,
    ".parquet": _parquet,
    ".arrow": _arrow,
    ".jsonl": _base64,
    ".json": _tfds,
    ".array_record": _array_record,
}
_SUFFIXES = tuple(_READERS)
