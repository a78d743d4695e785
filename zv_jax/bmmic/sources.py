"""Records to begin with, as a recipe names them: data sets, record files, the embedded scenes, and
folders of bare images."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zv_jax.bmmic.config import Source
from zv_jax.data.images import decode
from zv_jax.data.public import catalogue, guard
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.errors import ConfigError

EMBEDDED = "zv_openmoji"
FOLDER = "images"


@dataclass(frozen=True)
class Opened:
    """A source that can be read.

    Attributes:
      name: of its records (`vqav2`), which names what is made of them (`vqav2_t`).
      space: of its image ids; licence: of its card; root: of its image paths.
    """

    source: Source
    name: str
    space: str
    licence: str
    root: Path
    split: str

    def records(self, guarded: guard.Guard | None = None, limit: int = 0) -> Iterator[Record]:
        """Its records in order, without those that show images of `guarded`; the first `limit`."""
        found = self._all()
        if guarded is not None:
            found = (r for r in found if not guarded.holds(r, self.space or self.name))
        return itertools.islice(found, limit or None)

    def _all(self) -> Iterator[Record]:
        root = Path(self.source.root)
        if self.name == EMBEDDED:
            yield from _scenes(root, self.split)
        elif self.name == FOLDER:
            yield from _files(root, self.split)
        elif root.suffix == ".jsonl":
            for record in records_lib.read_jsonl(root):
                if self.split in ("", record.split):
                    yield record
        else:
            yield from catalogue.read(self.name, root, self.split, training=True)


def opened(source: Source, where: str) -> Opened:
    """The source a recipe names; nothing is read yet.

    Raises:
      ConfigError: there is no such data set, or it has no root.
    """
    if source.name == EMBEDDED:
        from zv_jax.data.openmoji import prepare

        root = Path(source.root) if source.root else prepare.prepare()
        embedded = Source(EMBEDDED, str(root), source.split or "train", source.image_root)
        licence = "CC BY-SA 4.0 (OpenMoji)"
        return Opened(embedded, EMBEDDED, EMBEDDED, licence, root, embedded.split)
    if source.name == FOLDER:
        if not Path(source.root).is_dir() or not source.root:
            raise ConfigError(
                "there is no such folder of images",
                where=f"{where}.root: {source.root!r}",
                expected="a folder with image files, at any depth",
            )
        split = source.split or "train"
        return Opened(source, FOLDER, FOLDER, "", Path(source.root), split)
    about = catalogue.card(source.name)
    if not source.root:
        raise ConfigError(
            f"{source.name} has no root",
            where=f"{where}.root",
            expected="the folder of the data set, or a .jsonl file of records",
            fix=f"zv data list {source.name} says which files belong there",
        )
    root = Path(source.root)
    images = Path(source.image_root or (root if root.is_dir() else root.parent))
    split = source.split or ("" if root.suffix == ".jsonl" else next(iter(about.splits), "train"))
    return Opened(source, source.name, about.space or source.name, about.licence, images, split)


def _scenes(root: Path, split: str) -> Iterator[Record]:
    from zv_jax.data.openmoji import prepare

    scenes = prepare.open_split(root, split)
    for number in range(len(scenes)):
        yield from scenes[number]["records"]


def _files(root: Path, split: str) -> Iterator[Record]:
    """A record without a word for each image file below a folder, in the order of their paths."""
    found = filter(decode.is_named_so, root.rglob("*"))
    for path in sorted(file.relative_to(root).as_posix() for file in found):
        yield Record(
            id=f"{FOLDER}/{split}/{path}",
            source=FOLDER,
            split=split,
            task="caption",
            lang="en",
            images=(ImageRef(path=path),),
            turns=(),
        )
