"""Records and their images as a TensorFlow data set, without TensorFlow: for BMMIC and the like.

    import tensorflow_datasets as tfds
    rows = tfds.builder_from_directory(path).as_data_source("train")
    rows[0]["record"], rows[0]["images"]

`record` is one JSON line whose images are `{"shard_key": "0"}`, `{"shard_key": "1"}`... in the
order of `images`. `zv data convert tfds --root=PATH` reads it back.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import tensorflow_datasets as tfds
from etils import epath
from PIL import Image

from zv_jax.data.images import addresses as image_store
from zv_jax.data.images import decode as images
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Record


def export(
    splits: Mapping[str, Iterable[Record]],
    root: str | Path,
    data_dir: str | Path,
    name: str,
    *,
    licence: str = "",
    description: str = "",
) -> Path:
    """Writes a data set `name` below `data_dir` (ArrayRecord files) and returns its folder.

    What is there already is kept, as TensorFlow Datasets does.

    Args:
      splits: records by split, read once each.
      root: of their images, which are stored as they are.
      name: of the configuration, such as `bmmic`.
      licence, description: for the data set's card.

    Raises:
      ImageError: an image cannot be read.
    """
    builder = ZvRecords(
        splits=splits,
        root=str(root),
        data_dir=data_dir,
        config=tfds.core.BuilderConfig(name=name, description=description),
        licence=licence,
    )
    builder.download_and_prepare()
    return Path(builder.data_path)


class ZvRecords(tfds.core.GeneratorBasedBuilder):
    """Records of any source; made by `export`."""

    code_path = epath.Path(__file__)
    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES: ClassVar[dict[str, str]] = {"1.0.0": "First version."}

    def __init__(
        self,
        *,
        splits: Mapping[str, Iterable[Record]] | None = None,
        root: str = ".",
        licence: str = "",
        **kwargs: Any,
    ):
        self._splits, self._root, self._licence = splits or {}, root, licence
        kwargs.setdefault("file_format", "array_record")
        super().__init__(**kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return self.dataset_info_from_configs(
            description=self.builder_config.description or "Records of zv_jax with pictures.",
            features=tfds.features.FeaturesDict(
                {
                    "record": tfds.features.Text(doc="one JSON line; see zv data schema"),
                    "images": tfds.features.Sequence(
                        tfds.features.Image(shape=(None, None, 3)), doc="pictures in order"
                    ),
                }
            ),
            license=self._licence or None,
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Iterator]:
        del dl_manager  # nothing is downloaded
        return {name: self._generate_examples(rows) for name, rows in self._splits.items()}

    def _generate_examples(self, rows: Iterable[Record]) -> Iterator[tuple[int, dict[str, Any]]]:
        for number, record in enumerate(rows):
            refs = tuple(
                ImageRef(shard_key=str(k), width=ref.width, height=ref.height)
                for k, ref in enumerate(record.images)
            )
            moved = dataclasses.replace(record, images=refs)
            encoded = [io.BytesIO(_upright(self._root, ref)) for ref in record.images]
            yield number, {"record": records_lib.dumps(moved), "images": encoded}


def _upright(root: str, ref: ImageRef) -> bytes:
    """The image as it is stored, or turned: other readers ignore the EXIF orientation."""
    data, decoded = image_store.read(root, ref), image_store.load(root, ref, images.KEPT)
    with Image.open(io.BytesIO(data), formats=images.FORMATS) as image:
        if images.orientation(image) in (None, 1):
            return data
    out = io.BytesIO()
    decoded.save(out, "PNG")
    return out.getvalue()
