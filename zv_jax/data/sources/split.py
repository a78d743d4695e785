"""Records cut into parts for training and for tests that share no image.

Records with an image in common stay together, or a model would be tested on what it has seen.
Which part they go to depends on the seed and their images alone, not on the order of the file.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path

from zv_jax.data.images.decode import ImageError
from zv_jax.data.public import catalogue
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.sources.open import JsonlSource
from zv_jax.errors import ConfigError, DataError
from zv_jax.files import writing

REST = "train"  # takes what the other parts leave


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What was written: records of each part, and groups of records that share images."""

    records: Mapping[str, int]
    groups: Mapping[str, int]


def write(
    source: JsonlSource, out: str | Path, shares: Mapping[str, float], seed: int, contents: bool
) -> Outcome:
    """Writes `out/PART.jsonl` for "train" and every part of `shares`; all appear at once.

    Only the split of a record changes.

    Args:
      source: the records.
      out: a folder that is not there yet.
      shares: of each part but "train" the share of the records, above 0, below 1 in all.
      contents: whether equal files under several names are one image, which reads every file.

    Raises:
      ConfigError: the shares are no shares, or `out` is there already.
      DataError: records are broken, of several splits or of a published test; an image is missing;
        there are too few images for the parts; `out` cannot be written.
    """
    out = Path(out)
    _check(source, out, shares)
    group_of = _groups(source, contents)
    part_of = _assigned(group_of, shares, seed, source.path)
    temporary = out.with_name(f".{out.name}.{uuid.uuid4().hex}")
    try:
        with writing("the parts", out, "give another --out"):
            temporary.mkdir(parents=True)
            for part in (REST, *shares):
                with (temporary / f"{part}.jsonl").open("wb") as file:
                    for index, group in enumerate(group_of):
                        if part_of[group] == part:
                            record = dataclasses.replace(source.record(index), split=part)
                            file.write(records_lib.dumps(record).encode() + b"\n")
            os.rename(temporary, out)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return Outcome(Counter(part_of[group] for group in group_of), Counter(part_of.values()))


def _check(source: JsonlSource, out: Path, shares: Mapping[str, float]) -> None:
    """Refuses what cannot be cut, before an image is read."""
    if not shares or sum(shares.values()) >= 1 or min(shares.values()) < 0:
        raise ConfigError(
            "the shares " + ", ".join(f"{part}={share}" for part, share in shares.items()),
            where=", ".join(f"--{part}" for part in shares) or "--val, --test",
            expected="numbers above 0, together below 1: the rest is for training",
            fix="--val=0.1 --test=0.1",
        )
    if out.exists():
        raise ConfigError(
            f"there is {str(out)!r} already",
            where="--out",
            expected="a folder that is not there: an old part beside a new one may share images",
            fix="give another --out, or remove the folder",
        )
    if source.broken:
        raise source.broken[0]
    splits = set()
    for name, split in {(r.source, r.split) for r in _records(source)}:
        catalogue.check_split(name, split, paper_mixture=False)
        splits.add(split)
    if len(splits) > 1:
        raise DataError(
            "the records are of several splits already: " + ", ".join(sorted(splits)),
            where=source.path,
            expected="records of one split, which is cut",
            fix=f"choose one: --split={min(splits)}",
        )


def _records(source: JsonlSource) -> Iterator[Record]:
    return (source.record(index) for index in range(len(source)))


def _groups(source: JsonlSource, contents: bool) -> list[str]:
    """Of every record the least name of what it shows, or of what anything that shares it shows."""
    parent: dict[str, str] = {}

    def root(name: str) -> str:
        while parent.setdefault(name, name) != name:
            parent[name] = parent[parent[name]]
            name = parent[name]
        return name

    digests: dict[str, str] = {}
    of_record = []
    for index, record in enumerate(_records(source)):
        names = [_named(source, ref, index, contents, digests) for ref in record.images]
        names = names or [f"text {record.id}"]
        for name in names[1:]:
            low, high = sorted((root(names[0]), root(name)))
            parent[high] = low
        of_record.append(names[0])
    return [root(name) for name in of_record]


def _named(
    source: JsonlSource, ref: ImageRef, index: int, contents: bool, digests: dict[str, str]
) -> str:
    """What tells an image from others: the SHA-1 of its file, or where the record says it is."""
    place = source.address(ref)
    if not contents or ref.url is not None:
        return os.path.relpath(place, source.root) if ref.url is None else place
    if place not in digests:
        try:
            data = source.encoded(ref)
        except ImageError as error:
            raise DataError(
                f"an image cannot be read: {error.what}",
                where=f"{source.where(index)}, {error.where}",
                expected="every image, since copies of one image belong to one part",
                fix="set --image_root; with --nocontents images are told apart by their paths",
            ) from error
        digests[place] = hashlib.sha1(data, usedforsecurity=False).hexdigest()
    return digests[place]


def _assigned(
    group_of: list[str], shares: Mapping[str, float], seed: int, where: str
) -> dict[str, str]:
    """Groups to parts, in an order drawn by the seed; each part takes groups up to its share."""
    sizes = Counter(group_of)
    order = sorted(sizes, key=lambda group: hashlib.sha256(f"{seed} {group}".encode()).digest())
    wanted = {part: max(1, round(share * len(group_of))) for part, share in shares.items()}
    found: dict[str, str] = {}
    for part, count in wanted.items():
        for group in [group for group in order if group not in found]:
            if sizes[group] <= count:  # else it is too large for what is left of this part
                found[group], count = part, count - sizes[group]
    found |= {group: REST for group in order if group not in found}
    empty = [part for part in (REST, *shares) if part not in found.values()]
    if empty:
        raise DataError(
            f"{len(sizes)} groups of records that share images leave none for " + ", ".join(empty),
            where=where,
            expected="more images, or fewer or larger parts",
            fix="leave out a part (--test=0), or raise its share",
        )
    return found
