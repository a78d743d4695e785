"""Random access to a prepared data set: row ``i`` of a split is scene ``i``."""

from __future__ import annotations

import io
import os
import re
from pathlib import Path
from typing import Any

from PIL import Image

from zv_jax.data.images import decode as images
from zv_jax.data.openmoji import scenes
from zv_jax.data.records import record as records_lib
from zv_jax.data.storage import tfds_folders
from zv_jax.errors import DataError, unknown_name

_KEY = re.compile(r"zv_openmoji/(\w+)/(\d+)")


class SceneSource:
    """One split as a sequence of ``{"id", "image": PIL RGB, "records": list[Record], "kind"}``.

    Cheap to pickle for worker processes: only the path travels, files are opened on first use.
    """

    def __init__(self, path: str | os.PathLike, split: str):
        self._path, self._split = Path(path), split
        self._rows: Any = None
        self._others: dict[str, SceneSource] = {}

    def __getstate__(self) -> dict[str, Any]:
        return {"_path": self._path, "_split": self._split, "_rows": None, "_others": {}}

    def __repr__(self) -> str:
        return f"SceneSource({str(self._path)!r}, {self._split!r})"

    def _open(self) -> Any:
        if self._rows is None:
            import tensorflow_datasets as tfds

            builder = tfds_folders.builder(self._path)
            # The PNG is decoded here, by Pillow, so that a broken picture is reported with its
            # address.
            decoders = {"image": tfds.decode.SkipDecoding()}
            self._rows = builder.as_data_source(split=self._split, decoders=decoders)
        return self._rows

    def __len__(self) -> int:
        return len(self._open())

    def row(self, index: int) -> dict[str, Any]:
        """The stored example, nothing decoded; IndexError outside the split."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is outside {self!r} of {len(self)} scenes")
        return self._open()[index % len(self)]

    def _decode(self, data: bytes, where: str) -> Image.Image:
        try:
            return Image.open(io.BytesIO(data), formats=images.FORMATS).convert("RGB")
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(
                f"Picture cannot be decoded: {error}", where=where, fix="prepare the data again"
            ) from error

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.row(int(index))
        name = bytes(row["id"]).decode()
        lines = bytes(row["records"]).decode().splitlines()
        return {
            "id": name,
            "image": self._decode(row["image"], name),
            "records": [
                records_lib.loads(line, f"{name} record {k}") for k, line in enumerate(lines)
            ],
            "kind": bytes(row["kind"]).decode(),
        }

    def image(self, shard_key: str) -> Image.Image:
        """Returns the picture that an `ImageRef.shard_key` names, whatever its split."""
        return self._decode(self.encoded(shard_key), shard_key)

    def encoded(self, shard_key: str) -> bytes:
        """The PNG of that picture."""
        match = _KEY.fullmatch(shard_key)
        if match is None or match[1] not in scenes.SPLITS:
            raise DataError(
                f"Not an address of this data set: {shard_key!r}",
                expected="zv_openmoji/<split>/<index>",
            )
        split, index = match[1], int(match[2])
        source = self
        if split != self._split:
            source = self._others.setdefault(split, SceneSource(self._path, split))
        if index >= len(source):
            raise DataError(
                f"No scene {shard_key!r}",
                where=repr(source),
                expected=f"an index below {len(source)}",
            )
        return bytes(source.row(index)["image"])


def open_split(path: str | os.PathLike, split: str) -> SceneSource:
    """Opens one split of a prepared data set.

    Args:
      path: what `prepare` returned.
      split: ``train``, ``val`` or ``test``.

    Raises:
      DataError: nothing complete is there, or there is no such split.
    """
    path = Path(path)
    if not (path / "manifest.json").is_file():
        raise DataError(
            "No prepared OpenMoji scenes here",
            where=str(path),
            expected="a folder that `zv data prepare` made",
            fix="zv data prepare",
        )
    if split not in scenes.SPLITS:
        raise unknown_name("split", split, scenes.SPLITS, str(path), error=DataError)
    return SceneSource(path, split)
