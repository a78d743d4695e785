"""A source name and a path to records one can reach by number, with their images.

Records stay JSON lines until they are asked for, so that a source costs little memory and starts
with one scan. `jsonl` reads records with image paths beside the file; `prepared` the shards of
`zv data prepare`; `zv_openmoji` the embedded default data set.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zv_jax import json_input
from zv_jax.data.images import addresses as image_store
from zv_jax.data.images import decode as images_lib
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.data.records.record_index import RecordIndex, facts_of
from zv_jax.data.storage import array_records
from zv_jax.errors import DataError, nearest, unknown_name


class Source:
    """Random access to the records of one split, cheap to send to a worker process.

    Attributes:
      name, path, split, image_root: what it was opened with.
      root: what its image references are relative to, a folder of its own; references of two
        roots never name one image, though they may read alike.
      facts: see `Facts`.
      fingerprint: SHA-256 of all records.
      broken: errors of the records left out because they could not be read.
      other_splits: how many records of other splits are there, which it does not have.
      ground: what its images were laid on when they were prepared (`images.TRANSPARENCY`), or None.
    """

    image_root = ""
    ground: str | None = None
    other_splits = 0

    def __init__(self, name: str, path: str, split: str, root: str, lines: Iterator[bytes]):
        self.name, self.path, self.split, self.root = name, path, split, root
        digest = hashlib.sha256()
        rows, whole = [], []
        self.broken: list[DataError] = []
        for number, line in enumerate(lines):
            digest.update(line)
            digest.update(b"\n")
            try:
                rows.append(self._facts(number, line))
                whole.append(number)
            except DataError as error:
                self.broken.append(error)
        self._keep(whole)
        self.fingerprint = digest.hexdigest()
        table = np.array(rows, np.int16).reshape(-1, 4).T
        self.facts = RecordIndex(*table)

    def __reduce__(self):
        return open_source, (self.name, self.path, self.split, self.image_root, True)

    def _facts(self, number: int, line: bytes) -> tuple[int, int, int, int]:
        return facts_of(line, self.where(number))

    def __len__(self) -> int:
        return len(self.facts.task)

    def _keep(self, whole: list[int]) -> None:
        """Numbers the records anew: only the lines `whole` are records."""
        raise NotImplementedError

    def line(self, index: int) -> bytes:
        """JSON of record `index`."""
        raise NotImplementedError

    def where(self, index: int) -> str:
        """Where record `index` stands, for errors."""
        return f"{self.path or self.name} record {index}"

    def record(self, index: int) -> Record:
        """Record `index`; `DataError` naming file, line and field if it is no record."""
        return records_lib.loads(self.line(index), self.where(index))

    def image(self, ref: ImageRef) -> Image.Image:
        """The image a record of this source refers to; `ImageError` if it cannot be read.

        RGBA where it is transparent, since models differ in what they make of it: `images.opaque`.
        """
        raise NotImplementedError

    def encoded(self, ref: ImageRef) -> bytes:
        """The stored bytes of that image; `ImageError` if they cannot be read."""
        return image_store.read(self.root, ref)

    def identified(self, ref: ImageRef) -> tuple[str, Image.Image]:
        """What tells an image from all others, whatever root it is read from, and the image as
        `image` gives it: the SHA-1 of its file, from the record or else from the bytes."""
        if ref.sha1:
            return ref.sha1, self.image(ref)
        data = self.encoded(ref)  # read once for both
        where = str(image_store.locate(self.root, ref.path)) if ref.path else ref.shard_key
        image = images_lib.decode(data, where, images_lib.KEPT)
        return hashlib.sha1(data, usedforsecurity=False).hexdigest(), image

    def address(self, ref: ImageRef) -> str:
        """Where the image is stored, links followed; equal addresses are one image."""
        if ref.path is not None:
            return os.path.realpath(os.path.join(self.root, ref.path))
        if ref.shard_key is None:
            return str(ref.url)
        file, _ = image_store.parted(ref.shard_key)
        place = ref.shard_key.removeprefix(file)
        return os.path.realpath(os.path.join(self.root, file)) + place


class JsonlSource(Source):
    """Records of a `.jsonl` file; image paths are relative to its folder, or to `image_root`."""

    def __init__(self, path: str, split: str, image_root: str = ""):
        file = Path(path).expanduser()
        fix = ""
        if path and file.is_dir():
            file, fix = _file_of(file, split), _OTHER_NAME
        if not path or not file.is_file():
            raise DataError(
                "record file not found",
                where=str(file) if path else "data.sources",
                expected="a .jsonl file, or a folder with one per split",
                fix="set the source's path",
            )
        self._file = file
        self._open = file.open("rb", buffering=0)  # a file that is renamed over stays readable
        self._stat = _identity(self._open.fileno())
        self._spans: list[tuple[int, int, int]] = []
        self._first: dict[int, int] = {}  # of a line whose id is taken the line that has it
        ids: dict[bytes, int] = {}
        found: set[str] = set()
        for number, start, line in json_input.at(file):
            # A line whose split cannot be read may be of this one: it counts as broken below.
            native, name = _named(line)
            found |= {native} - {None}
            if split in ("", native) or native is None:
                self._spans.append((start, len(line.rstrip(b"\n")), number))
                first = ids.setdefault(name, number) if name else number
                if first != number:
                    self._first[number] = first
            else:
                self.other_splits += 1
        # Broken lines alone are no split, but where every line is broken the first says why.
        if not self._spans or (split and found and split not in found):
            raise no_split(split, sorted(found), str(file), fix)
        self.image_root = image_root
        root = Path(image_root).expanduser() if image_root else file.parent
        super().__init__(
            "jsonl",
            path,
            split,
            str(root.resolve()),
            (self.line(i) for i in range(len(self._spans))),
        )

    def _facts(self, number: int, line: bytes) -> tuple[int, int, int, int]:
        place = self._spans[number][2]
        if place in self._first:
            first = f"{self._file}:{self._first[place]}"
            raise taken(json.loads(line)["id"], self.where(number), first)
        return super()._facts(number, line)

    def _keep(self, whole: list[int]) -> None:
        self._spans = [self._spans[number] for number in whole]

    def line(self, index: int) -> bytes:
        start, size, _ = self._spans[index]
        # Not mapped into memory: a file that is cut short meanwhile would end the process.
        if _identity(self._open.fileno()) != self._stat:
            raise DataError(
                "the record file was changed while it was read",
                where=self.where(index),
                expected="the file as it was when the run began",
                fix="write the new records under another name; start the command again",
            )
        return os.pread(self._open.fileno(), size, start)

    def where(self, index: int) -> str:
        return f"{self._file}:{self._spans[index][2]}"

    def image(self, ref: ImageRef) -> Image.Image:
        return image_store.load(self.root, ref, images_lib.KEPT)


def _named(line: bytes) -> tuple[str | None, bytes]:
    """The split of a record and a digest of its id; None and b"" for a line that is none."""
    try:
        data = json.loads(line)
        return str(data["split"]), digest_of(str(data["id"]))
    except (ValueError, KeyError, TypeError, RecursionError):
        return None, b""


def _identity(file: int) -> tuple[int, int]:
    """Size and time of the last change of an open file."""
    stat = os.fstat(file)
    return stat.st_size, stat.st_mtime_ns


def digest_of(name: str) -> bytes:
    """Twelve bytes that tell ids apart: a million take some 100 MB whatever their length."""
    return hashlib.blake2b(name.encode(errors="surrogatepass"), digest_size=12).digest()


def taken(name: str, where: str, first: str) -> DataError:
    """The error for a record whose id another has, at `first`."""
    return DataError(
        f"Id {name!r} is taken",
        where=where,
        expected=f"another id than that of {first}",
        fix="give every record an id of its own",
    )


_OTHER_NAME = (
    "correct the split of the records, for the name of their file says another, or set the "
    "source's path to the file itself and its split to theirs"
)


def _file_of(folder: Path, split: str) -> Path:
    """The file of a split in a folder that has one for each.

    Raises:
      NoSplit: it has others.
    """
    known = sorted(file.stem for file in folder.glob("*.jsonl"))
    if known and split not in known:
        raise no_split(split, known, str(folder), "set the source's split to one of these")
    return folder / f"{split}.jsonl"


class NoSplit(DataError):
    """A source does not have the split that is asked for."""


def no_split(split: str, known: Sequence[str], where: str, fix: str = "") -> NoSplit:
    """The error for a split that is not there, `known` are those that are."""
    return NoSplit(
        f"no record of split {split!r}{nearest(split, known)}",
        where=where,
        expected="one of " + (", ".join(known) or "(no record at all)"),
        fix=fix or "set the source's split; an empty one takes all records",
    )


class PreparedSource(Source):
    """What `zv data prepare` wrote; its manifest stands for its contents.

    `path` is a folder that was prepared, or holds one for each split: `path/train`, `path/val`.
    Either way the records are of the split that is asked for.
    """

    def __init__(self, path: str, split: str, image_root: str = ""):
        del image_root  # its images lie in the shards
        folder = _prepared_folder(path, split)
        manifest = (folder / array_records.MANIFEST).read_bytes()
        self.name, self.path, self.split = "prepared", path, split
        self.root = str(folder.resolve())
        told = array_records.read_manifest(folder)
        self.ground, listed = array_records.ground(told), told.get("splits")
        self._table = _facts_table(folder / array_records.FACTS, listed)
        digest = hashlib.sha256(manifest)
        if split:
            # Folders of format 1 list no splits, and may hold several.
            splits, own = (
                (listed, self._table[:, array_records.SPLIT :].ravel()) if listed else self._read()
            )
            if split not in splits:
                raise no_split(split, splits, self.root, _where_else(folder, split))
            if len(splits) > 1:
                every = len(self._table)
                self._table = self._table[own == splits.index(split)]
                self.other_splits = every - len(self._table)
                digest.update(split.encode())
        self.fingerprint = digest.hexdigest()
        self.facts = RecordIndex(*self._table[:, :4].T)
        self.broken = []  # `zv data prepare` has reported them

    def _read(self) -> tuple[list[str], np.ndarray]:
        """The splits of all records, and the number of each record's own, from the records."""
        found = (_named(self.line(index))[0] for index in range(len(self._table)))
        splits, own = np.unique([str(split) for split in found], return_inverse=True)
        return splits.tolist(), own

    def __len__(self) -> int:
        return len(self._table)

    def line(self, index: int) -> bytes:
        shard, entry = (int(v) for v in self._table[index, 4:6])
        file = array_records.records_file(self.root, shard)
        try:
            return array_records.entry(file, entry)
        except (OSError, IndexError) as error:
            raise DataError(
                f"a record of a shard cannot be read: {error}",
                where=f"{file}#{entry}",
                expected="the shard that `zv data prepare` wrote",
                fix="copy the shard again, or remove the folder and run `zv data prepare` again",
            ) from error

    def image(self, ref: ImageRef) -> Image.Image:
        return image_store.load(self.root, ref, images_lib.KEPT)


def _facts_table(file: Path, splits: list[str] | None) -> np.ndarray:
    """The facts of all records of a prepared folder: integers [N, 6], [N, 7] with its `splits`.

    Raises:
      DataError: the file is missing or damaged.
    """
    columns = array_records.SPLIT if splits is None else array_records.SPLIT + 1
    bounds = (len(records_lib.TASKS), len(records_lib.LANGS))
    try:
        # A plain view of it: to take a row of a memmap makes another memmap.
        table = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
        if table.dtype.kind != "i" or table.ndim != 2 or table.shape[1] < columns:
            raise ValueError(f"it holds {table.dtype} of shape {table.shape}")
        bounded = (*bounds, None, None, None, None, *([len(splits)] if splits else ()))
        for column, bound in zip(table.T, bounded, strict=False):
            if column.size and (column.min() < 0 or (bound is not None and column.max() >= bound)):
                raise ValueError("its numbers are outside their bounds")
    except (OSError, ValueError, TypeError, EOFError, SyntaxError, OverflowError) as error:
        raise DataError(
            f"the facts of the records are damaged ({error})",
            where=str(file),
            expected=f"integers [N, {columns}], as `zv data prepare` wrote them",
            fix="copy the file again, or remove the folder and run `zv data prepare` again",
        ) from None
    return table


def _prepared_folder(path: str, split: str) -> Path:
    """Where the prepared records of a split lie; `DataError` if nothing is there."""
    folder = Path(path).expanduser()
    below = folder / split
    if path and split and (below / array_records.MANIFEST).is_file():
        return below
    if path and (folder / array_records.MANIFEST).is_file():
        return folder
    others = sorted(file.parent.name for file in folder.glob(f"*/{array_records.MANIFEST}"))
    if path and others:
        raise no_split(split, others, str(folder), _where_else(below, split))
    raise DataError(
        "no prepared data here",
        where=str(folder) if path else "data.sources",
        expected="a folder that `zv data prepare` finished",
        fix="zv data prepare NAME --root=DIR --out=DIR; it goes on where it was",
    )


def _where_else(folder: Path, split: str) -> str:
    """What to do about a split that the prepared `folder` does not have."""
    if (folder.parent / split / array_records.MANIFEST).is_file():
        return f"set the source's path to {folder.parent}, which has a folder for {split}"
    return (
        f"set the source's split, or prepare this one: zv data prepare NAME --split={split} "
        f"--out={folder.parent / (split or 'SPLIT')} (and --purpose=eval if it evaluates)"
    )


class OpenMojiSource(Source):
    """The prepared OpenMoji scenes; every scene gives several records in both languages."""

    def __init__(self, path: str, split: str, image_root: str = ""):
        from zv_jax.data.openmoji import prepare

        del image_root  # its images lie in the shards

        folder = path or prepare.prepare()
        self._scenes = prepare.open_split(folder, split)
        # Straight to the stored lines: `scenes[i]` would decode each image and parse each record.
        rows = (self._scenes.row(i) for i in range(len(self._scenes)))
        self._lines = [line for row in rows for line in bytes(row["records"]).splitlines()]
        root = str(Path(folder).resolve())
        super().__init__("zv_openmoji", path, split, root, iter(self._lines))

    def _keep(self, whole: list[int]) -> None:
        self._lines = [self._lines[number] for number in whole]

    def line(self, index: int) -> bytes:
        return self._lines[index]

    def image(self, ref: ImageRef) -> Image.Image:
        with _unreadable():
            return self._scenes.image(str(ref.shard_key))

    def encoded(self, ref: ImageRef) -> bytes:
        with _unreadable():
            return self._scenes.encoded(str(ref.shard_key))


@contextlib.contextmanager
def _unreadable() -> Iterator[None]:
    """Errors of the scenes as those of an image."""
    try:
        yield
    except DataError as error:
        raise images_lib.ImageError(error.what, error.where, error.expected, error.fix) from error


OPENERS: dict[str, Callable[[str, str, str], Source]] = {
    "jsonl": JsonlSource,
    "prepared": PreparedSource,
    "zv_openmoji": OpenMojiSource,
}


def open_source(
    name: str, path: str = "", split: str = "train", image_root: str = "", tolerant: bool = False
) -> Source:
    """The source called `name`; opened once per process for as long as its file does not change.

    Args:
      tolerant: leave out records that cannot be read (`Source.broken`); training judges them.

    Raises:
      ConfigError: there is no such source.
      DataError: nothing readable is at `path`, it has no such split, or a record is broken.
    """
    if name not in OPENERS:
        raise unknown_name(
            "source",
            name,
            OPENERS,
            "data.sources",
            fix="name one of these; other data sets become one by `zv data convert` or `prepare`",
        )
    source = _open(name, path, split, image_root, _stamp(path, split))
    if source.broken and not tolerant:
        raise source.broken[0]
    return source


def _stamp(path: str, split: str) -> Any:
    file = Path(path).expanduser()
    file = file / f"{split}.jsonl" if file.is_dir() else file
    stat = file.stat() if path and file.is_file() else None
    return stat and (stat.st_mtime_ns, stat.st_size, stat.st_ino)


@functools.lru_cache(64)  # more than a mixture has
def _open(name: str, path: str, split: str, image_root: str, stamp: Any) -> Source:
    del stamp
    return OPENERS[name](path, split, image_root)
