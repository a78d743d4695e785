"""One prepared shard: records in one ArrayRecord file, their images in another, both by number.

    00007.records.array_record    one JSON line each; images are `00007.images.array_record#k`
    00007.images.array_record   encoded images, each once however many records show it
    00007.json                    what the shard was made from and holds, until all shards are done

A shard depends on its own records, images and settings only, so that shards can be made in any
order, by any number of processes or machines, and come out the same.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zv_jax import json_input
from zv_jax.data.images import addresses as image_store
from zv_jax.data.images import decode as images_lib
from zv_jax.data.records import record as records_lib
from zv_jax.data.records import rules
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.records.record_index import facts_of
from zv_jax.data.storage import array_records
from zv_jax.errors import ConfigError, DataError
from zv_jax.files import write_atomic

ENCODINGS = {"jpeg": "JPEG", "png": "PNG", "ppm": "PPM"}
# Records compress well; images are compressed already.
_RECORDS, _IMAGES = "group_size:1,zstd:3", "group_size:1,uncompressed"


@dataclass(frozen=True)
class Settings:
    """How images are stored, and which records are right.

    Attributes:
      image_size: side in pixels, stretched to a square as in training, so that boxes stay; 0 keeps
        the files as they are.
      encoding: jpeg, png or ppm, where images are resized; `quality` of a JPEG. ppm is not
        compressed: as many bytes as the model sees, and next to nothing to decode.
      shard_size: records per shard.
      transparency: what becomes of it where images are resized; see `images.TRANSPARENCY`.
      purpose: train or eval; for training every record needs an answer (`rules.check`).
    """

    image_size: int = 0
    encoding: str = "jpeg"
    quality: int = 95
    shard_size: int = 2048
    transparency: str = images_lib.TRANSPARENCY[0]
    purpose: str = "train"

    def __post_init__(self):
        wrong = (
            ("image_size", self.image_size >= 0, "0 or more pixels"),
            ("encoding", self.encoding in ENCODINGS, " or ".join(ENCODINGS)),
            ("quality", 1 <= self.quality <= 100, "1 to 100"),
            (
                "transparency",
                self.transparency in images_lib.TRANSPARENCY,
                " or ".join(images_lib.TRANSPARENCY),
            ),
            ("purpose", self.purpose in ("train", "eval"), "train or eval"),
            ("shard_size", self.shard_size >= 1, "1 or more records"),
        )
        for name, right, expected in wrong:
            if not right:
                raise ConfigError(
                    f"{name} is {getattr(self, name)!r}", expected=expected, fix=f"set --{name}"
                )


def inputs_digest(lines: Sequence[bytes], settings: Settings) -> str:
    """SHA-256 of what a shard is made from, images aside."""
    digest = hashlib.sha256(repr((array_records.FORMAT, settings)).encode())
    for line in lines:
        digest.update(line + b"\n")
    return digest.hexdigest()


def write(
    number: int, lines: Sequence[bytes], root: str, folder: str, settings: Settings
) -> dict[str, Any]:
    """Writes shard `number` and returns its facts; a shard that is there already is kept.

    Records that are wrong, or whose images cannot be read, are left out and listed as rejected.

    Args:
      number: of the shard; lines: its records as JSON.
      root: of their images; folder: where to.
    """
    out, digest = Path(folder), inputs_digest(lines, settings)
    about = out / f"{number:05d}.json"
    done = _finished(about, digest)
    if done is not None:
        return done
    stored, kept, facts, rejected = _Images(number, root, settings), [], [], []
    splits = []
    for line in lines:
        record = records_lib.loads(line, f"shard {number}")
        try:
            for wrong in rules.check(record, answered=settings.purpose == "train"):
                raise wrong
            moved = stored.take(record)
        except DataError as error:
            rejected.append({"id": record.id, "what": error.what, "where": error.where})
            continue
        kept.append(records_lib.dumps(moved).encode())
        facts.append(facts_of(kept[-1], record.id))
        splits.append(record.split)
    files = {
        array_records.file_name(number, "records"): _write_all(
            out / array_records.file_name(number, "records"), kept, _RECORDS
        ),
        array_records.file_name(number, "pictures"): _write_all(
            out / array_records.file_name(number, "pictures"), stored.encoded, _IMAGES
        ),
    }
    result = {
        "inputs": digest,
        "records": len(kept),
        "pictures": len(stored.encoded),
        "facts": facts,
        "splits": splits,
        "rejected": rejected,
        "files": files,
    }
    write_atomic(about, json.dumps(result, ensure_ascii=False).encode())
    return result


def _finished(about: Path, digest: str) -> dict[str, Any] | None:
    try:
        result = json_input.parse(about.read_bytes(), str(about))
        sizes = {name: (about.parent / name).stat().st_size for name in result["files"]}
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None
    whole = all(sizes[name] == facts["bytes"] for name, facts in result["files"].items())
    return result if whole and result["inputs"] == digest else None


class _Images:
    """The images of a shard, each stored once."""

    def __init__(self, number: int, root: str, settings: Settings):
        self.file, self.root, self.settings = (
            array_records.file_name(number, "pictures"),
            root,
            settings,
        )
        self.encoded: list[bytes] = []
        self.places: dict[ImageRef, ImageRef] = {}

    def take(self, record: Record) -> Record:
        """The record with references into the shard; nothing is stored unless all can be read."""
        new = {
            ref: self._encode(ref) for ref in dict.fromkeys(record.images) if ref not in self.places
        }
        for ref, (data, sha1) in new.items():
            key = f"{self.file}#{len(self.encoded)}"
            self.encoded.append(data)
            self.places[ref] = ImageRef(None, key, ref.width, ref.height, sha1)
        images = tuple(self.places[ref] for ref in record.images)
        return dataclasses.replace(record, images=images)

    def _encode(self, ref: ImageRef) -> tuple[bytes, str]:
        """The bytes to store, and the SHA-1 of the file they are made from: an image is the same
        to the contrastive loss in whatever shard, at whatever size, prepared or not."""
        data = image_store.read(self.root, ref)
        sha1 = ref.sha1 or hashlib.sha1(data, usedforsecurity=False).hexdigest()
        image = images_lib.decode(data, ref.path or ref.shard_key, self.settings.transparency)
        size = self.settings.image_size
        if not size:
            return data, sha1
        out = io.BytesIO()
        options = {"quality": self.settings.quality} if self.settings.encoding == "jpeg" else {}
        square = Image.fromarray(images_lib.resize(image, size))
        square.save(out, ENCODINGS[self.settings.encoding], **options)
        return out.getvalue(), sha1


def _write_all(path: Path, entries: Sequence[bytes], options: str) -> dict[str, Any]:
    from array_record.python.array_record_module import ArrayRecordWriter

    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    writer = ArrayRecordWriter(str(temporary), options)
    for entry in entries:
        writer.write(entry)
    writer.close()
    with temporary.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = temporary.stat().st_size
    os.replace(temporary, path)
    return {"bytes": size, "sha256": digest}


def splits_of(shards: Sequence[dict[str, Any]]) -> list[str]:
    """The splits of all records."""
    return sorted({split for shard in shards for split in shard["splits"]})


def facts_table(shards: Sequence[dict[str, Any]]) -> np.ndarray:
    """int32 [N, 7]: task, lang, parts, images, shard, entry and split of every record, in order;
    the split as its number in `splits_of`."""
    numbers = {split: number for number, split in enumerate(splits_of(shards))}
    rows = [
        (*facts, number, place, numbers[split])
        for number, shard in enumerate(shards)
        for place, (facts, split) in enumerate(zip(shard["facts"], shard["splits"], strict=True))
    ]
    return np.array(rows, np.int32).reshape(-1, 7)
