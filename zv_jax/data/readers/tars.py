"""Samples of a WebDataset tar: files that share a name up to the first dot; nothing is unpacked."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from zv_jax import json_input
from zv_jax.errors import DataError

IMAGES = ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff")
_TEXTS = ("txt", "caption", "json")
MAX_HEADER = 1 << 20  # bytes of a long name, or of the fields of a member; names have a few hundred
_HEADERS = (b"x", b"g", b"X", b"L", b"K")  # pax, pax for all, Solaris, GNU's long names
_DIGITS = re.compile(rb"\d{101}")
_MOST_FIELDS = 100


@dataclass(frozen=True)
class Sample:
    """One sample.

    Attributes:
      key: the common name; `where`: "file: key", for errors.
      texts: contents by extension (txt, caption, json, or such behind a name: answer.txt).
      images: extension -> "offset:size" of the encoded image in the tar file.
      unread: extensions of other members.
    """

    key: str
    where: str
    texts: dict[str, str]
    images: dict[str, str]
    unread: tuple[str, ...] = ()


def samples(path: Path) -> Iterator[Sample]:
    """Streams the samples in the order of the tar.

    Raises:
      DataError: it is no uncompressed tar or ends too early, a text is not UTF-8, or a sample has
        a member twice.
    """
    end = path.stat().st_size
    found = _Members(path, "")
    try:
        with tarfile.open(path, "r:", tarinfo=_bounded(end)) as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # else all of them stay in memory, each with its header
                folder, _, name = member.name.rpartition("/")
                if not member.isfile() or name.startswith("._"):  # macOS packs such beside files
                    continue
                stem, _, extension = name.partition(".")
                key = f"{folder}/{stem}" if folder else stem
                if key != found.key:
                    if found.names:
                        yield found.sample()
                    found = _Members(path, key)
                if member.offset_data + member.size > end:
                    raise tarfile.ReadError(f"{member.name} is cut off")
                found.add(extension.lower(), tar, member)
            _check_end(tar)
    except (tarfile.TarError, ValueError, LookupError, OSError) as error:
        raise DataError(
            f"tar cannot be read: {error}"[:300],
            where=f"{path}: after {found.key or 'its start'}",
            expected="a complete tar, not compressed, with texts in UTF-8",
            fix="download it again, or gunzip it",
        ) from None
    if found.names:
        yield found.sample()


def _bounded(end: int) -> type[tarfile.TarInfo]:
    """Members whose sizes fit into a file of `end` bytes. A negative one would lead back to what
    was read, for ever (CVE-2025-8194); a huge one would be allocated before it is read.

    Headers of the kind `pax` are looked at before the library reads them: it takes time with the
    square of a row of digits (CVE-2024-6232), and gives every member a copy of all fields that
    are for all members."""

    class Bounded(tarfile.TarInfo):
        def _block(self, count: int) -> int:
            if not 0 <= count <= end:
                raise tarfile.ReadError(f"a member of {count} bytes in a file of {end}")
            return super()._block(count)

        def _proc_member(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
            if self.type in _HEADERS and self.size > MAX_HEADER:
                raise tarfile.ReadError(f"a header of {self.size:,} bytes")
            return super()._proc_member(tar)

        def _proc_pax(self, tar: tarfile.TarFile) -> tarfile.TarInfo:
            place = tar.fileobj.tell()
            if _DIGITS.search(tar.fileobj.read(self._block(self.size))):
                raise tarfile.ReadError("a header with a number of more than 100 digits")
            tar.fileobj.seek(place)
            found = super()._proc_pax(tar)
            if len(tar.pax_headers) > _MOST_FIELDS:
                raise tarfile.ReadError(f"more than {_MOST_FIELDS} fields for all members")
            return found

    return Bounded


def _check_end(tar: tarfile.TarFile) -> None:
    """Where reading stopped there are zeros or nothing: a broken header looks like the end too."""
    tar.fileobj.seek(tar.offset)
    if tar.fileobj.read(tarfile.BLOCKSIZE).strip(b"\0"):
        raise tarfile.ReadError(f"a damaged header at byte {tar.offset}")


class _Members:
    """The members of one sample, while they are read."""

    def __init__(self, path: Path, key: str):
        self.key, self.where = key, f"{path}: {key}"
        self.names: dict[str, None] = {}
        self._texts: dict[str, str] = {}
        self._images: dict[str, str] = {}

    def add(self, extension: str, tar: tarfile.TarFile, member: tarfile.TarInfo) -> None:
        if extension in self.names:
            raise DataError(
                f"Member {member.name!r} is there twice",
                where=self.where,
                expected="a name of its own for every member",
                fix="pack the tar again from files of different names",
            )
        self.names[extension] = None
        kind = extension.rpartition(".")[2]
        if kind in IMAGES:
            self._images[extension] = f"{member.offset_data}:{member.size}"
        elif kind in _TEXTS:
            json_input.check_length(member.size, f"{self.where}.{extension}")
            self._texts[extension] = json_input.text(
                tar.extractfile(member).read(), f"{self.where}.{extension}"
            )

    def sample(self) -> Sample:
        """What was read.

        Raises:
          DataError: file names hold dots, so that several samples have become one.
        """
        named = {name.rpartition(".")[0] for name in self._images}
        both = sorted(named & {name.rpartition(".")[0] for name in self._texts} - {""})
        if len(both) > 1:
            raise DataError(
                f"Names with dots: {self.key}.{both[0]} and {self.key}.{both[1]} are one sample",
                where=self.where,
                expected="the name of a sample up to the first dot of its members",
                fix="write names without dots: img_v1_001.png, img_v1_001.txt",
            )
        unread = (n for n in self.names if n not in self._images and n not in self._texts)
        return Sample(self.key, self.where, self._texts, self._images, tuple(unread))
