"""Samples of a WebDataset tar: files that share a name up to the first dot; nothing is unpacked."""

from __future__ import annotations

import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zv_jax.errors import DataError

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_TEXTS = ("txt", "caption", "json")


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
      key: the common name; `where`: "file: key", for errors.
      texts: contents by extension (txt, caption, json).
      images: extension -> "offset:size" of the encoded picture in the tar file.
    """

    key: str
    where: str
    texts: dict[str, str]
    images: dict[str, str]


def samples(path: Path) -> Iterator[Sample]:
    """Streams the samples in the order of the tar.

    Raises:
      DataError: it is no uncompressed tar or ends too early, or a text is not UTF-8.
    """
    end = path.stat().st_size
    texts: dict[str, str] = {}
    images: dict[str, str] = {}
    current = ""
    try:
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                if not member.isfile():
                    continue
                folder, _, name = member.name.rpartition("/")
                stem, _, extension = name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if key != current and (texts or images):
                    yield Sample(current, f"{path}: {current}", texts, images)
                    texts, images = {}, {}
                current = key
                if member.offset_data + member.size > end:
                    raise tarfile.ReadError(f"{member.name} is cut off")
                extension = extension.lower()
                if extension.rpartition(".")[2] in IMAGES:
                    images[extension] = f"{member.offset_data}:{member.size}"
                elif extension in _TEXTS:
                    texts[extension] = tar.extractfile(member).read().decode("utf-8-sig")
    except (tarfile.TarError, UnicodeDecodeError) as error:
        raise DataError(
            f"tar cannot be read: {error}",
            where=f"{path}: after {current or 'its start'}",
            expected="a complete tar, not compressed, with texts in UTF-8",
            fix="download it again, or gunzip it",
        ) from None
    if texts or images:
        yield Sample(current, f"{path}: {current}", texts, images)
