"""Where the images of an exported set are: one folder, to which all paths are relative."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image

from zv_jax.bmmic import sources
from zv_jax.bmmic.config import Source
from zv_jax.bmmic.pair import Pair
from zv_jax.data.images import addresses, decode
from zv_jax.data.records.record import ImageRef, Record
from zv_jax.files import write_atomic

if TYPE_CHECKING:
    from zv_jax.data.openmoji.source import SceneSource


class Images:
    """Addresses of one set's images below one root.

    Args:
      opened: the sources, with the folders of their images; where these differ, their common
        folder is the root, and paths begin with what is left.
      own: a folder for images that are no files, such as the embedded scenes.
    """

    def __init__(self, opened: Sequence[sources.Opened], own: Path, root: str = ""):
        self._own = own
        self._scenes = next((o for o in opened if o.name == sources.EMBEDDED), None)
        self._roots = {o.name: o.root.resolve() for o in opened if o.name != sources.EMBEDDED}
        folders = {*self._roots.values(), *([own.resolve()] if self._scenes else [])}
        common = os.path.commonpath(folders) if folders else str(own)
        self.root = Path(root).resolve() if root else Path(common)

    def placed(self, record: Record, source: str) -> Record:
        """The record with its images relative to `root`; `source` is the set they come from."""
        refs = tuple(self._ref(ref, source) for ref in record.images)
        return dataclasses.replace(record, images=refs)

    def _ref(self, ref: ImageRef, source: str) -> ImageRef:
        if source == sources.EMBEDDED and ref.shard_key:
            path = self._own / f"{ref.shard_key}.png"
            if not path.exists():
                path.parent.mkdir(parents=True, exist_ok=True)
                write_atomic(path, self._scene(ref.shard_key.split("/")[1]).encoded(ref.shard_key))
            relative = os.path.relpath(path.resolve(), self.root)
            return dataclasses.replace(ref, shard_key=None, path=relative)
        before = os.path.relpath(self._roots.get(source, self.root), self.root)
        if before == ".":
            return ref
        if ref.path is not None:
            return dataclasses.replace(ref, path=os.path.normpath(f"{before}/{ref.path}"))
        return dataclasses.replace(ref, shard_key=f"{before}/{ref.shard_key}")

    def shown(self, pair: Pair) -> Image.Image:
        """The image of a pair.

        Raises:
          DataError: it cannot be read.
        """
        return self.opened(pair.view.image, source_of(pair))

    def opened(self, ref: ImageRef, source: str) -> Image.Image:
        """An image of a source, by its address there; errors as in `shown`."""
        if source == sources.EMBEDDED and ref.shard_key:
            return self._scene(ref.shard_key.split("/")[1]).image(ref.shard_key)
        return addresses.load(self._roots.get(source, self.root), ref, decode.KEPT)

    def _scene(self, split: str) -> SceneSource:
        return _open(str(self._scenes.source.root if self._scenes else ""), split)


def source_of(pair: Pair) -> str:
    """The data set that a pair's image comes from."""
    record = pair.meta.get("record")
    return str(record["source"] if record else pair.view.meta.get("source", ""))


@functools.cache
def _open(root: str, split: str) -> SceneSource:
    from zv_jax.data.openmoji import prepare

    return prepare.open_split(root, split)


def opened(given: Sequence[Source], where: str) -> list[sources.Opened]:
    """The sources of a recipe."""
    return [sources.opened(source, f"{where}[{i}]") for i, source in enumerate(given)]
