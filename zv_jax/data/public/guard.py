"""Images of evaluation splits, as lists of ids with hashes, to be kept out of training.

Data sets share images: those of OKVQA's val are in COCO captions, VQAv2, LLaVA and half of Visual
Genome. A list belongs to a space of image ids (`coco`, `flickr30k`, `visual_genome`...), so that
one list guards against all sets of that space.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from zv_jax import json_input
from zv_jax.data.records.record import Record
from zv_jax.errors import DataError
from zv_jax.files import write_atomic

MANIFEST = "guard.json"
_NUMBER = re.compile(r"(\d+)$")


def image_ids(record: Record, space: str) -> Iterator[tuple[str, str]]:
    """(space, id) of each image of a record; one image may have an id in two spaces."""
    for ref in record.images:
        if ref.path is None:  # inside a shard it has no name of its own
            yield space, str(ref.shard_key or ref.url)
            continue
        stem = PurePosixPath(ref.path).stem
        number = _NUMBER.search(stem)
        # COCO_val2014_000000000042, 000000000042 and 42 are one image.
        yield space, (number[1].lstrip("0") or "0") if space == "coco" and number else stem
    if record.meta.get("coco_id"):
        yield "coco", str(record.meta["coco_id"])
    if record.meta.get("open_images_id"):
        yield "open_images", str(record.meta["open_images_id"])


class Guard:
    """Lists of image ids; `lists` maps a space to its ids."""

    def __init__(self, lists: Mapping[str, Iterable[str]]):
        self.lists = {space: frozenset(ids) for space, ids in lists.items()}

    def holds(self, record: Record, space: str) -> bool:
        """Does the record show an image of the lists?"""
        empty: frozenset[str] = frozenset()
        return any(name in self.lists.get(own, empty) for own, name in image_ids(record, space))

    @classmethod
    def load(cls, folder: str | Path) -> Guard:
        """Reads the lists `write` made.

        Raises:
          DataError: they are missing, or not what their hashes say.
        """
        folder = Path(folder)
        try:
            manifest = json_input.parse((folder / MANIFEST).read_bytes(), str(folder / MANIFEST))
            lists, found = manifest["lists"], {}
            for space, about in lists.items():
                if Path(space).name != space:
                    raise ValueError(f"{space!r} is no file of its own folder")
                text = (folder / f"{space}.txt").read_text(encoding="utf-8")
                found[space] = text.split("\n")[:-1]
                if digest(found[space]) != about["sha256"]:
                    raise ValueError(f"the contents of {space}.txt have changed")
        except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError) as error:
            raise DataError(
                f"no guard lists: {error.what if isinstance(error, DataError) else error}",
                where=str(folder / MANIFEST),
                expected="a folder that `zv data guard` made",
                fix="zv data guard okvqa=ROOT coco_caption=ROOT ... --out=DIR",
            ) from None
        return cls(found)


def digest(ids: Iterable[str]) -> str:
    """SHA-256 of the sorted ids, one per line: equal for equal sets, on every machine."""
    return hashlib.sha256("".join(f"{name}\n" for name in sorted(set(ids))).encode()).hexdigest()


def write(folder: str | Path, origins: Mapping[str, Mapping[str, Iterable[str]]]) -> None:
    """Writes one list per space and the manifest, which comes last.

    Args:
      folder: where to.
      origins: {space: {"<data set>/<split>": image ids}}.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    lists: dict[str, Any] = {}
    for space, parts in sorted(origins.items()):
        ids = sorted({name for part in parts.values() for name in part})
        write_atomic(folder / f"{space}.txt", "".join(f"{name}\n" for name in ids).encode())
        lists[space] = {
            "count": len(ids),
            "sha256": digest(ids),
            "from": {
                origin: {"count": len(set(part)), "sha256": digest(part)}
                for origin, part in sorted(parts.items())
            },
        }
    write_atomic(folder / MANIFEST, (json.dumps({"lists": lists}, indent=2) + "\n").encode())
