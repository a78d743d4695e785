"""Small files, written whole or not at all, and logs of one JSON object a line.

The only code of the project that replaces a file.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zv_jax.errors import CheckpointError, DataError, ZvError

Row = dict[str, Any]
_PASSING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE)
_WAITING = 10_000  # rows kept in memory while the disk takes none

_log = logging.getLogger(__name__)


def write_atomic(path: Path, data: bytes) -> None:
    """Writes a file that appears complete or not at all, also with several writers.

    Its permissions are those that the umask leaves, as of any new file.
    """
    temporary = path.with_name(f".{path.name[:200]}.{uuid.uuid4().hex}")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def writing(what: str, place: Path, fix: str, error: type[ZvError] = DataError) -> Iterator[None]:
    """Makes the `OSError` of what is done inside an error of this package.

    Args:
        what: that is written, as "the results"; place: where to.

    Raises:
        ZvError: of the type `error`.
    """
    try:
        yield
    except OSError as cause:
        raise error(
            f"{what} cannot be written: {cause.strerror or cause}",
            where=str(place),
            expected="a folder that can be written",
            fix=fix,
        ) from cause


def write_json(path: Path, value: object) -> None:
    """Writes JSON, NaN as null, as `write_atomic` does."""
    write_atomic(path, json.dumps(plain(value), indent=1, ensure_ascii=False).encode())


def plain(value: object) -> object:
    """`value` with null for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value


def read_jsonl(path: Path) -> list[Row]:
    """The rows of a log; a last line cut short by a crash is left out. A missing file is empty.

    Raises:
        CheckpointError: a line before the last is no JSON object.
    """
    try:
        text = path.read_text("utf-8", errors="replace")
    except FileNotFoundError:
        return []
    lines = text.rstrip("\n").split("\n") if text.strip() else []
    rows = []
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            row = None
        if isinstance(row, dict):
            rows.append(row)
        elif number < len(lines):
            raise CheckpointError(
                "a line of the log is not a JSON object",
                where=f"{path}:{number}",
                expected='one object a line, as {"step": 10, "loss": 1.5}',
                fix="remove that line",
            )
    return rows


def append_rows(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Appends objects to a file of one a line, and waits until they are on the disk."""
    with path.open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        file.flush()
        os.fsync(file.fileno())


def whole_lines(path: Path, mend: bool) -> list[str]:
    """The lines that `append_rows` has written, without one that a kill has torn.

    Args:
        mend: cuts the torn line off the file, which is to be appended to.
    """
    data = path.read_bytes()
    whole = data[: data.rfind(b"\n") + 1]
    if mend and len(whole) < len(data):
        with path.open("r+b") as file:
            file.truncate(len(whole))
    return whole.decode().split("\n")[:-1]


class JsonLines:
    """A log that a full disk does not stop: rows wait in memory until it takes them again."""

    def __init__(self, path: Path):
        self.path = Path(path)
        self._waiting: list[str] = []

    def append(self, row: Mapping[str, Any]) -> bool:
        """Writes `row`, and first those that wait.

        Returns:
            Whether the disk has taken it; if not, it waits.

        Raises:
            CheckpointError: the file can never be written.
        """
        self._waiting.append(_line(row))
        size = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                size = os.fstat(file.fileno()).st_size
                file.writelines(self._waiting)
        except OSError as error:
            if error.errno not in _PASSING:
                raise CheckpointError(
                    f"the log cannot be written: {error.strerror}",
                    where=str(self.path),
                    expected="a file in a directory that can be written",
                    fix="give another --workdir",
                ) from error
            if len(self._waiting) == 1:
                _log.warning("%s: %s; its lines wait in memory", self.path, error.strerror)
            if size is not None:
                os.truncate(self.path, size)  # half a line would spoil the next one
            del self._waiting[:-_WAITING]
            return False
        self._waiting.clear()
        return True

    def keep(self, wanted: Callable[[Row], bool] = lambda row: True) -> list[Row]:
        """Drops every other row, and a torn last line, by one rename; returns those kept."""
        if not self.path.exists():
            return []
        rows = [row for row in read_jsonl(self.path) if wanted(row)]
        part = self.path.with_name(self.path.name + ".tmp")
        with part.open("w", encoding="utf-8") as file:
            file.writelines(_line(row) for row in rows)
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, self.path)
        return rows


def _line(row: Mapping[str, Any]) -> str:
    # JSON has no NaN and no infinity: null keeps the file readable by every program.
    return json.dumps(plain(dict(row)), ensure_ascii=False, allow_nan=False) + "\n"
