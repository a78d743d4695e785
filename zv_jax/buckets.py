"""Folders in a bucket, as gs://bucket/run: a local copy to work in, kept there as well.

Object storage appends to no file and renames none, which logs and atomic writes need. So a program
works in a folder of this machine; what changes in it is copied to the bucket every half minute and
at the end. Large files never pass through: checkpoints are written to the bucket directly.
"""

from __future__ import annotations

import logging
import os
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from zv_jax.errors import CheckpointError, SetupError

EVERY = 30.0  # seconds between two copies
ASIDE = ("checkpoints", "beats")  # not copied: written directly, or of one machine

Place = str | os.PathLike[str]

_log = logging.getLogger(__name__)


def is_bucket(place: Place) -> bool:
    """Whether `place` is a URL, as gs://bucket/run."""
    return "://" in os.fspath(place)


def place(text: str) -> str | Path:
    """`text` itself where it is a URL, which a Path would spoil; else the path, `~` expanded."""
    return text if is_bucket(text) else Path(text).expanduser()


class Copy:
    """The local copy of one folder of a bucket.

    Attributes:
        folder: where to work.
    """

    def __init__(self, url: str, folder: Path):
        """Copies what is at `url` to `folder`.

        Raises:
            SetupError: a package for this kind of URL is missing, or it is of no known kind.
            CheckpointError: the bucket cannot be read.
        """
        self.folder, self._url = folder, url.rstrip("/")
        self._files, self._root = _file_system(self._url)
        self._sent: dict[Path, tuple[int, int]] = {}  # size and time of what the bucket has
        self._one = threading.Lock()
        self.pull()

    def pull(self) -> None:
        """Fetches the files that are not here yet; raises as the constructor."""
        with self._one, _reaching(self._url, "read"):
            if not self._files.isdir(self._root):
                return
            for found in self._files.find(self._root):
                inside = Path(found[len(self._root) :].lstrip("/"))
                local = self.folder / inside
                if inside.parts[0] in ASIDE or local.exists():
                    continue
                local.parent.mkdir(parents=True, exist_ok=True)
                self._files.get_file(found, str(local))
                self._sent[inside] = _state(local)

    def push(self) -> None:
        """Sends the files that changed.

        Raises:
            CheckpointError: the bucket cannot be written; a later call tries again.
        """
        with self._one, _reaching(self._url, "written"):
            for local in sorted(self.folder.rglob("*")):
                inside = local.relative_to(self.folder)
                hidden = inside.name.startswith(".")  # half written
                if inside.parts[0] in ASIDE or hidden or not local.is_file():
                    continue
                state = _state(local)
                if self._sent.get(inside) != state:
                    remote = f"{self._root}/{inside.as_posix()}"
                    self._files.makedirs(remote.rpartition("/")[0], exist_ok=True)
                    self._files.put_file(str(local), remote)
                    self._sent[inside] = state

    def push_within(self, seconds: float) -> None:
        """Sends the files that changed, or gives up after that time, without an error."""
        thread = threading.Thread(target=self._try, daemon=True)
        thread.start()
        thread.join(seconds)

    def _try(self) -> None:
        try:
            self.push()
        except CheckpointError as error:
            _log.warning("what changed is not in the bucket yet: %s", error)


@contextmanager
def copied(url: str, every: float = EVERY) -> Iterator[Copy]:
    """A copy of the folder at `url` that is sent back every `every` seconds and at the end, also
    after an error.

    Raises:
        SetupError, CheckpointError: as `Copy`, and at the end as `Copy.push`.
    """
    with tempfile.TemporaryDirectory(prefix="zv_bucket_") as folder:
        copy = Copy(url, Path(folder))
        ended = threading.Event()

        def follow() -> None:
            while not ended.wait(every):
                copy._try()

        thread = threading.Thread(target=follow, name="bucket", daemon=True)
        thread.start()
        failed = True
        try:
            yield copy
            failed = False
        finally:
            ended.set()
            thread.join()
            try:
                copy.push()
            except CheckpointError as error:
                if not failed:
                    raise
                _log.error("%s", error)  # raising it would hide the error that ended the run


@contextmanager
def local(folder: Place) -> Iterator[Path]:
    """`folder` itself, or of one in a bucket a copy that is removed at the end.

    Raises:
        SetupError, CheckpointError: as `Copy`.
    """
    if not is_bucket(folder):
        yield Path(folder)
        return
    with tempfile.TemporaryDirectory(prefix="zv_bucket_") as here:
        yield Copy(os.fspath(folder), Path(here)).folder


def _file_system(url: str) -> tuple[Any, str]:
    """fsspec's file system for `url`, and the path in it."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(url)
    except (ImportError, ValueError) as error:
        raise SetupError(
            f"this kind of folder cannot be reached: {error}",
            where=url,
            expected="gs://bucket/folder and the package gcsfs, or a mounted bucket",
            fix="pip install gcsfs",
        ) from error


@contextmanager
def _reaching(url: str, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each file system has its own
        raise CheckpointError(
            f"the bucket cannot be {what}: {error or type(error).__name__}",
            where=url,
            expected="a bucket that exists, and credentials that may read and write it",
            fix="for gs://: gcloud auth application-default login",
        ) from error


def _state(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_size, found.st_mtime_ns
