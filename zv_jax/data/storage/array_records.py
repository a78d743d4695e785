"""ArrayRecord shards and the manifest beside them: what reading and writing them share."""

from __future__ import annotations

import functools
from pathlib import Path, PurePath
from typing import Any

from zv_jax import json_input
from zv_jax.errors import DataError

FORMAT = 2
MANIFEST, FACTS = "manifest.json", "facts.npy"
SPLIT = 6  # column of the facts with the number of a record's split in the manifest


def file_name(number: int, kind: str) -> str:
    return f"{number:05d}.{kind}.array_record"


@functools.lru_cache(1024)
def records_file(folder: str, number: int) -> Path:
    """The file of the records of shard `number`."""
    return Path(folder) / file_name(number, "records")


@functools.lru_cache(64)
def _reader(path: str) -> Any:
    from array_record.python.array_record_module import ArrayRecordReader

    reader = ArrayRecordReader(path)
    if not reader.ok():
        raise OSError(f"{path} is missing or damaged")
    return reader


def entry(path: str | Path, number: int) -> bytes:
    """Entry `number` of an ArrayRecord file.

    Raises:
      OSError: the file is missing, or it or this entry is damaged.
      IndexError: it has no such entry.
    """
    reader = _reader(str(path))
    if not 0 <= number < reader.num_records():
        raise IndexError(f"entry {number} of {reader.num_records()}")
    try:
        return reader.read([number])[0]
    except RuntimeError as error:  # its check sum is wrong; other entries may still be whole
        raise OSError(str(error)) from error


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `finish` wrote about a folder.

    Raises:
      DataError: there is no manifest, or it is damaged.
    """
    where = str(folder / MANIFEST)
    try:
        manifest = json_input.parse((folder / MANIFEST).read_bytes(), where)
        right = (
            isinstance(manifest, dict)
            and isinstance(manifest.get("inputs"), str)
            and isinstance(manifest.get("settings"), dict)
            and isinstance(manifest["settings"].get("image_size"), int)
            and isinstance(manifest.get("splits", []), list)
            and all(isinstance(split, str) for split in manifest.get("splits", []))
            and isinstance(manifest.get("files", {}), dict)
            and all(map(_listed, manifest.get("files", {}).items()))
        )
        if not right:
            raise ValueError("a field is missing, of another kind, or names a file elsewhere")
    except (OSError, ValueError, DataError) as error:
        what = error.what if isinstance(error, DataError) else str(error)
        raise DataError(
            f"the manifest is damaged ({what})",
            where=where,
            expected="what `zv data prepare` wrote",
            fix="copy it again, or prepare again",
        ) from None
    return manifest


def settings_of(manifest: dict[str, Any]) -> dict[str, Any]:
    """Those of a finished folder; the first ones dropped transparency and took all records."""
    return {"transparency": "black", "purpose": "train"} | manifest["settings"]


def _listed(item: tuple[str, Any]) -> bool:
    name, facts = item
    own = PurePath(name).name == name and isinstance(facts, dict)
    return own and isinstance(facts.get("bytes"), int) and isinstance(facts.get("sha256"), str)


def ground(manifest: dict[str, Any]) -> str | None:
    """What became of transparency (`images.TRANSPARENCY`); None where files are as they were."""
    settings = settings_of(manifest)
    return settings["transparency"] if settings["image_size"] else None
