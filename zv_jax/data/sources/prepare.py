"""Any records and images -> shards for training: parallel, resumable, checksummed.

The folder holds the shards (see `shards`), `facts.npy` (int32 [N, 7], mapped and not read, so that
a source opens in no time whatever its size) and, written last, `manifest.json`.
"""

from __future__ import annotations

import collections
import concurrent.futures
import dataclasses
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import Record
from zv_jax.data.sources import shards
from zv_jax.data.sources.shards import Settings
from zv_jax.data.storage import array_records
from zv_jax.errors import DataError
from zv_jax.files import write_atomic
from zv_jax.progress import progress_bar

MAX_REJECTED = 0.01  # share of records with images that cannot be read

Writer = Callable[[Iterator[list[bytes]], str, str, Settings], Iterable[dict[str, Any]]]
"""Records of each shard, root of their images, folder -> facts of each shard, in order."""


def prepare(
    records: Iterable[Record],
    root: str | Path,
    out: str | Path,
    settings: Settings | None = None,
    *,
    workers: int = 0,
    max_rejected: float = MAX_REJECTED,
    writer: Writer | None = None,
) -> dict[str, Any]:
    """Writes the shards of `records` to `out` and returns the manifest.

    Started again after an interruption it reads the records once more, which is quick, and keeps
    every finished shard. The same records and settings give the same bytes.

    Args:
      records: in the order they are to have; root: what their image paths are relative to.
      out: an empty or new folder, or one of an interrupted run.
      settings: of the images.
      workers: processes that encode; 0 is this one.
      max_rejected: the share of records that may have unreadable images.
      writer: of the shards, instead of `workers` (see `on_beam`).

    Raises:
      DataError: an id repeats, too many images cannot be read, there is no record, or `out` holds
        something else.
    """
    settings, out = settings or Settings(), Path(out)
    before = _manifest(out)
    if before is not None and array_records.settings_of(before) != dataclasses.asdict(settings):
        raise DataError(
            "this folder was prepared with other settings",
            where=str(out),
            expected=json.dumps(dataclasses.asdict(settings)),
            fix="choose another --out, or remove the folder",
        )
    out.mkdir(parents=True, exist_ok=True)
    digest = hashlib.sha256()
    chunks = _chunks(records, settings.shard_size, digest)
    if before is not None:
        for _ in chunks:
            pass
        if before["inputs"] == digest.hexdigest():
            return before
        raise DataError(
            "this folder was prepared from other records",
            where=str(out),
            expected="the same records, or an empty folder",
            fix="choose another --out, or remove the folder",
        )
    done = []
    with progress_bar(desc="records", unit=" records", smoothing=0.05) as bar:
        write = writer or functools.partial(_write, workers=workers)
        for shard in write(chunks, str(Path(root).resolve()), str(out), settings):
            done.append(shard)
            bar.update(shard["records"] + len(shard["rejected"]))
            _check_rejected(done, max_rejected, final=False)
    _check_rejected(done, max_rejected, final=True)
    return finish(out, done, digest.hexdigest(), settings)


def finish(
    out: Path, done: list[dict[str, Any]], inputs: str, settings: Settings
) -> dict[str, Any]:
    """Writes the facts, the list of rejected records and the manifest of finished shards."""
    count = sum(shard["records"] for shard in done)
    if not count:
        raise DataError("no record", where=str(out), expected="at least one", fix="check --split")
    with (out / f".{array_records.FACTS}").open("wb") as file:
        np.save(file, shards.facts_table(done))
    os.replace(out / f".{array_records.FACTS}", out / array_records.FACTS)
    rejected = [json.dumps(r, ensure_ascii=False) for shard in done for r in shard["rejected"]]
    if rejected:
        write_atomic(out / "rejected.jsonl", ("\n".join(rejected) + "\n").encode())
    manifest = {
        "format": array_records.FORMAT,
        "settings": dataclasses.asdict(settings),
        "inputs": inputs,
        "records": count,
        "splits": shards.splits_of(done),
        "pictures": sum(shard["pictures"] for shard in done),
        "rejected": len(rejected),
        "shards": len(done),
        "files": {name: facts for shard in done for name, facts in shard["files"].items()},
    }
    write_atomic(out / array_records.MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())
    for number in range(len(done)):
        (out / f"{number:05d}.json").unlink(missing_ok=True)
    return manifest


def _manifest(out: Path) -> dict[str, Any] | None:
    return array_records.read_manifest(out) if (out / array_records.MANIFEST).exists() else None


def chunk(records: Iterable[Record], size: int) -> Iterator[list[bytes]]:
    """Lists of `size` records as JSON lines.

    Raises:
      DataError: an id repeats, or a record cannot be written.
    """
    seen: set[bytes] = set()
    lines = []
    for record in records:
        line = records_lib.dumps(record).encode()
        key = hashlib.blake2b(record.id.encode(), digest_size=12).digest()
        if key in seen:
            raise DataError(
                f"id {record.id!r} repeats",
                where=record.source,
                expected="an id of its own for every record",
                fix="zv data validate FILE",
            )
        seen.add(key)
        lines.append(line)
        if len(lines) == size:
            yield lines
            lines = []
    if lines:
        yield lines


def _chunks(records: Iterable[Record], size: int, digest: Any) -> Iterator[list[bytes]]:
    for lines in chunk(records, size):
        for line in lines:
            digest.update(line + b"\n")
        yield lines


def _write(
    chunks: Iterator[list[bytes]], root: str, out: str, settings: Settings, workers: int
) -> Iterator[dict[str, Any]]:
    """Facts of the shards in order; at most two shards per worker are in memory."""
    numbered = enumerate(chunks)
    if not workers:
        for number, lines in numbered:
            yield shards.write(number, lines, root, out, settings)
        return
    context = multiprocessing.get_context("spawn")
    with concurrent.futures.ProcessPoolExecutor(workers, mp_context=context) as pool:
        waiting: collections.deque = collections.deque()

        def submit(count: int) -> None:
            for number, lines in itertools.islice(numbered, count):
                waiting.append(pool.submit(shards.write, number, lines, root, out, settings))

        try:
            submit(2 * workers)
            while waiting:
                yield waiting.popleft().result()
                submit(1)
        finally:
            for future in waiting:
                future.cancel()


def _check_rejected(done: list[dict[str, Any]], most: float, final: bool) -> None:
    rejected = [r for shard in done for r in shard["rejected"]]
    tried = len(rejected) + sum(shard["records"] for shard in done)
    # Early on a few bad images are a large share; the end decides.
    if rejected and len(rejected) > most * tried and (final or len(rejected) > 100):
        raise DataError(
            f"{len(rejected)} of {tried} records have pictures that cannot be read or are wrong; "
            "the first: "
            f"{rejected[0]['what']}",
            where=f"{rejected[0]['id']}: {rejected[0]['where']}",
            expected=f"at most {most:.1%}",
            fix="check --image_root, or allow more with --max_rejected",
        )


def check(folder: str | Path) -> dict[str, Any]:
    """The manifest of a prepared folder, after comparing the hash of every file.

    Raises:
      DataError: a file is missing or has changed.
    """
    folder = Path(folder)
    manifest = _manifest(folder)
    if manifest is None:
        raise DataError(
            "no manifest: the preparation did not finish",
            where=str(folder),
            expected="a folder that `zv data prepare` made",
            fix="run zv data prepare again; it goes on where it was",
        )
    for name, facts in manifest["files"].items():
        path = folder / name
        same = path.is_file() and path.stat().st_size == facts["bytes"]
        if same:
            with path.open("rb") as file:
                same = hashlib.file_digest(file, "sha256").hexdigest() == facts["sha256"]
        if not same:
            raise DataError(
                "a shard is missing or has changed", where=str(path), fix="prepare the data again"
            )
    return manifest
