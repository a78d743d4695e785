"""Every mistake of a record file, not the first only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

from zv_jax import json_input
from zv_jax.data.images import addresses as image_store
from zv_jax.data.records import record as records_lib
from zv_jax.data.records import rules
from zv_jax.data.records.record import Record
from zv_jax.data.sources.open import digest_of, no_split, taken
from zv_jax.errors import DataError


def check_file(
    path: str | Path,
    image_root: str | Path = "",
    decode: bool = False,
    answered: bool = True,
    split: str = "",
) -> Iterator[tuple[int, list[DataError]]]:
    """Yields, for each record of a `.jsonl` file, its line number and all that is wrong with it.

    Args:
      path: the file; a line that is too long ends the check, since what follows is no line.
      image_root: what image paths are relative to; the file's folder by default.
      answered: whether each record must have an answer to learn; see `rules.check`.
      split: only records of this one, of which there must be some; those of any by default.
      decode: also decode every image and compare its size with the record's, which takes longer.
    """
    path = Path(path)
    root = Path(image_root) if image_root else path.parent
    seen: dict[bytes, int] = {}
    splits: set[str] = set()
    try:
        for number, line in json_input.numbered(path):
            where = f"{path}:{number}"
            try:
                record = records_lib.loads(line, where)
            except DataError as error:
                yield number, [error]
                continue
            splits.add(record.split)
            if split not in ("", record.split):
                continue
            first = seen.setdefault(digest_of(record.id), number)
            errors = [
                *rules.check(record, where, answered),
                *_images(record, root, where, decode),
            ]
            if first != number:
                errors.insert(0, taken(record.id, where, f"{path}:{first}"))
            yield number, errors
    except DataError as error:
        yield 0, [error]
        return
    if split and split not in splits:
        yield 0, [no_split(split, sorted(splits), str(path), "set --split")]


def _images(record: Record, root: Path, where: str, decode: bool) -> Iterator[DataError]:
    for number, ref in enumerate(record.images):
        field = f"images[{number}]"
        try:
            problem = None
            if ref.path is not None:
                path = image_store.locate(root, ref.path)
                problem = (
                    image_store.why_unreadable(path)
                    and f"{image_store.why_unreadable(path)}: {ref.path!r}"
                )
            else:
                image_store.read(root, ref)
            if problem is None and decode:
                problem = _wrong_size(ref, image_store.load(root, ref).size) or _changed(root, ref)
        except DataError as error:
            yield DataError(f"Field {field!r}: {error.what}", where, error.expected, error.fix)
            continue
        if problem:
            yield DataError(
                f"Field {field!r}: {problem}",
                where=where,
                expected=f"a picture below {root}",
                fix="correct the path, or give the folder of the pictures with --image_root",
            )


def _changed(root: Path, ref: records_lib.ImageRef) -> str | None:
    found = hashlib.sha1(image_store.read(root, ref), usedforsecurity=False).hexdigest()
    return None if ref.sha1 in (None, found) else f"its SHA-1 is {found}, not {ref.sha1}"


def _wrong_size(ref: records_lib.ImageRef, size: tuple[int, int]) -> str | None:
    named = (ref.width or size[0], ref.height or size[1])
    # An image stored on its side has its size swapped after its EXIF orientation is applied.
    if named in (size, size[::-1]):
        return None
    return f"it has {size[0]}x{size[1]} pixels, not {named[0]}x{named[1]}"
