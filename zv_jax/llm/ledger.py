"""What was asked, answered and paid: a file to which lines are only ever added.

Each line is a JSON object that ends in `chain`, the sha256 of the line and of the chain before it:
a line that was changed, moved or taken out is found when the file is read. (Lines taken off the end
are not, so a receipt prints the last chain.) The kinds of lines:

* ``ledger``: the first one; which run it belongs to.
* ``asked``: a request is about to be sent; `most` is what it may cost. A process that is killed
  leaves it open, and so the receipt knows what may have been paid for nothing.
* ``answered``: the reply, as the server sent it, with its price. Only this answers a later request.
* ``spoiled``: a reply that was paid for and holds nothing. ``lost``: a try that may have been
  charged for. Neither ends the request: it is tried again.
* ``failed``, ``withdrawn``: no reply after all tries; not sent after all.
* ``batch``: a batch of a batch service, before it is made, when it is, and when it has ended.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.errors import ConfigError, DataError, SetupError
from zv_jax.llm.offsets import Offsets
from zv_jax.llm.receipt import Receipt
from zv_jax.llm.reply import reply_of
from zv_jax.llm.request import Reply

Entry = Mapping[str, Any]

VERSION = 1
_START = "0" * 64
_MARK = b',"chain":"'
_TAIL = len(_MARK) + 64 + len(b'"}')
_NUMBER = (int, float)
_SHA256 = re.compile("[0-9a-f]{64}")
# What is counted on in each kind of entry, by name.
_FIELDS: dict[str, dict[str, tuple[type, ...]]] = {
    "ledger": {"version": (int,), "run": (str,)},
    "asked": {"key": (str,), "most": _NUMBER},
    "answered": {"key": (str,), "usd": _NUMBER, "raw": (dict,)},
    "spoiled": {"key": (str,), "usd": _NUMBER, "usage": (dict,)},
    "lost": {"key": (str,), "most": _NUMBER},
    "withdrawn": {"key": (str,)},
    "failed": {"key": (str,)},
    "batch": {"mark": (str,), "state": (str,)},
}
_BALLAST = 4 << 20  # bytes kept free for the replies that are under way when a disk fills up


class Ledger:
    """A ledger that is open for one process; safe to use from several of its threads.

    Args:
        path: the file; made where there is none.
        run: what it belongs to, such as ``judge``. One ledger serves one run.

    Attributes:
        receipt: the sums, with those of earlier processes. head: the last chain.

    Raises:
        DataError: it is no ledger, belongs to another run, or a line was changed.
        ConfigError: another process has it open. SetupError: it cannot be written.
    """

    def __init__(self, path: str | Path, run: str):
        self.path = Path(path)
        self._lock = threading.Lock()
        self._full: OSError | None = None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
        except OSError as error:
            raise self._unwritable(error) from error
        try:
            self._claim()
            self._read(run)
            self._ballast = self.path.with_name(f".{self.path.name}.ballast")
            self._fill_ballast()
        except BaseException:
            os.close(self._file)
            raise

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __len__(self) -> int:
        """Requests that are answered."""
        return len(self._offsets)

    def close(self) -> None:
        """Gives the file free; what was added is on the disk already."""
        with contextlib.suppress(OSError):
            self._ballast.unlink(missing_ok=True)
        os.close(self._file)

    def get(self, key: str) -> Reply | None:
        """The reply to a request, if there is one."""
        with self._lock:
            for offset in self._offsets.candidates(key):
                entry = json.loads(self._line_at(offset))
                if entry["key"] == key:
                    return reply_of(entry["raw"], cached=True)
        return None

    def add(self, entries: Sequence[Entry], sync: bool = True) -> None:
        """Adds lines; with `sync` they are on the disk when this returns.

        An answer to a request that is answered already is left out: the first one stays.

        Raises:
            SetupError: the disk did not take them; then the file is as it was. A full disk
                takes a few megabytes more, kept for replies that are paid for, and then nothing.
        """
        with self._lock:
            lines, answers, end, chain = [], [], self._size, self.head
            for entry in entries:
                if entry["kind"] == "answered":
                    if self._has(entry["key"]):
                        continue
                    answers.append((entry["key"], end))
                line, chain = _chained(entry, chain)
                lines.append((entry, line))
                end += len(line)
            self._write(b"".join(line for _, line in lines), reserve=sync)
            self.head, self._size = chain, end
            for entry, _ in lines:
                self.receipt.take(entry)
        if sync:
            self._flush()  # without the lock: others may write meanwhile
        with self._lock:
            for key, offset in answers:
                self._offsets.add(key, offset)

    def _has(self, key: str) -> bool:
        return any(
            json.loads(self._line_at(offset))["key"] == key
            for offset in self._offsets.candidates(key)
        )

    def _claim(self) -> None:
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                return  # a file system without locks
            raise ConfigError(
                "another process is using this ledger",
                where=str(self.path),
                expected="one process for one ledger, so that nothing is paid twice",
                fix="wait until it ends, or give each process a folder of its own",
            ) from None

    def _read(self, run: str) -> None:
        self.receipt, self.head, self._offsets = Receipt(), _START, Offsets()
        self._size = 0
        for offset, entry, chain, end in _entries(self.path):
            if offset == 0:
                _check_run(entry, run, self.path)
            self.receipt.take(entry)
            if entry["kind"] == "answered":
                self._offsets.add(entry["key"], offset)
            self.head, self._size = chain, end
        self.receipt.settled()
        if not self._size and not _begun(os.pread(self._file, 64, 0)):
            raise _no_ledger(self.path)
        if self._size < os.fstat(self._file).st_size:
            os.ftruncate(self._file, self._size)  # a last line that a kill tore
        if not self._size:
            start = {"kind": "ledger", "version": VERSION, "run": run, "id": uuid.uuid4().hex}
            self.add([start])

    def _line_at(self, offset: int) -> bytes:
        size = 1 << 13
        while True:
            data = os.pread(self._file, size, offset)
            end = data.find(b"\n")
            if end >= 0:
                return data[:end]
            size *= 4

    def _write(self, data: bytes, reserve: bool) -> None:
        if self._full is not None and not reserve:
            raise self._unwritable(self._full)  # what is left is for replies that are under way
        try:
            self._put(data)
        except OSError as error:
            full = error.errno in (errno.ENOSPC, errno.EDQUOT)
            if not (full and reserve and self._full is None):
                raise self._unwritable(error) from error
            self._full = error
            self._ballast.unlink(missing_ok=True)
            try:
                self._put(data)
            except OSError as again:
                raise self._unwritable(again) from again

    def _put(self, data: bytes) -> None:
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(self._file, view) :]
        except OSError:
            os.ftruncate(self._file, self._size)  # half a line would spoil the next one
            raise

    def _flush(self) -> None:
        try:
            os.fsync(self._file)
        except OSError as error:
            raise self._unwritable(error) from error

    def _fill_ballast(self) -> None:
        """Keeps some space for later; a disk that has none left is an error now, not then."""
        try:
            file = os.open(self._ballast, os.O_WRONLY | os.O_CREAT, 0o600)
            try:
                os.posix_fallocate(file, 0, _BALLAST)
            finally:
                os.close(file)
        except OSError as error:
            self._ballast.unlink(missing_ok=True)
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> SetupError:
        return SetupError(
            f"the ledger cannot be written: {error.strerror}",
            where=str(self.path),
            expected="a disk with room for every reply, before one is paid for",
            fix="make room, or give another folder; then run again: what was answered is kept",
        )


def replies(path: str | Path, keys: Set[str]) -> dict[str, Reply]:
    """The replies of a ledger to the requests of these keys, every line verified; writes nothing.

    Raises:
        DataError: as `read` does.
    """
    found: dict[str, Reply] = {}
    for _, entry, _, _ in _entries(Path(path)):
        if entry["kind"] == "answered" and entry["key"] in keys:
            found.setdefault(entry["key"], reply_of(entry["raw"], cached=True))
    return found


def files(folder: Path) -> list[Path]:
    """The ledgers in the folder of a run: one, or one of each part of the work."""
    return sorted(folder.glob("ledger*.jsonl"))


def read(path: str | Path) -> tuple[Receipt, str, str]:
    """The receipt, the run and the last chain of a ledger, every line verified; writes nothing.

    Raises:
        DataError: there is no such file, it is no ledger, or a line was changed.
    """
    receipt, run, head = Receipt(), "", _START
    for offset, entry, chain, _ in _entries(Path(path)):
        if offset == 0:
            run = _run_of(entry, Path(path))
        receipt.take(entry)
        head = chain
    if not run:
        raise _no_ledger(Path(path))
    return receipt.settled(), run, head


def _chained(entry: Entry, before: str) -> tuple[bytes, str]:
    """The line of an entry, and its chain."""
    body = json.dumps(entry, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
    chain = _next(before, body)
    return body[:-1] + _MARK + chain.encode() + b'"}\n', chain


def _next(before: str, body: bytes) -> str:
    return hashlib.sha256(before.encode() + body).hexdigest()


def _entries(path: Path) -> Iterator[tuple[int, dict[str, Any], str, int]]:
    """Yields (offset, entry, chain, end) of each line, verified; a torn last line is left out."""
    chain, offset = _START, 0
    try:
        file = path.open("rb")
    except OSError as error:
        raise DataError(
            f"there is no ledger: {error.strerror}", where=str(path), expected="a ledger.jsonl"
        ) from error
    with file:
        for number, line in enumerate(file, 1):
            if not line.endswith(b"\n"):
                return
            body, mark = line[: -_TAIL - 1] + b"}", line[-_TAIL - 1 : -_TAIL - 1 + len(_MARK)]
            now = _next(chain, body)
            if number == 1 and mark != _MARK:
                raise _no_ledger(path)
            if mark != _MARK or line[-67:-3].decode("latin-1") != now:
                raise DataError(
                    "the ledger was changed: a line does not continue the chain before it",
                    where=f"{path} line {number}",
                    expected="lines as they were written, all of them, in their order",
                    fix="take the file from a backup; or keep the lines above this one, and what "
                    "follows will be asked and paid for again",
                )
            entry = _checked(json_input.parse(body, f"{path} line {number}"), path, number)
            chain = now
            yield offset, entry, chain, offset + len(line)
            offset += len(line)


def _checked(entry: Any, path: Path, number: int) -> dict[str, Any]:
    """The entry of a line, its fields of the types that are counted on: anyone can make a chain."""
    kind = entry.get("kind") if isinstance(entry, dict) else None
    types = _FIELDS.get(kind) if isinstance(kind, str) else None
    wrong = [name for name, kinds in (types or {}).items() if not _is(entry, name, kinds)]
    if types is None or wrong or not isinstance(entry.get("pack", ""), str):
        raise DataError(
            f"not an entry of a ledger: {kind if types is None else wrong or 'pack'}",
            where=f"{path} line {number}",
            expected=f"one of the kinds {', '.join(_FIELDS)}, with its fields",
            fix="take the file from a backup, or give another folder",
        )
    return entry


def _is(entry: Mapping[str, Any], name: str, types: tuple[type, ...]) -> bool:
    value = entry.get(name)
    if name == "raw":
        try:
            reply_of(value)
        except (KeyError, IndexError, TypeError, AttributeError, ValueError):
            return False
    if name == "key":
        return isinstance(value, str) and _SHA256.fullmatch(value) is not None
    number = json_input.finite(value) if types is _NUMBER else 0.0
    return isinstance(value, types) and number is not None


def _begun(data: bytes) -> bool:
    """Whether a file without a line is new, or was left while its first line was written."""
    first = b'{"kind":"ledger"'
    return first.startswith(data[: len(first)])


def _run_of(entry: Entry, path: Path) -> str:
    if entry.get("kind") != "ledger" or entry.get("version") != VERSION:
        raise _no_ledger(path)
    return entry["run"]


def _check_run(entry: Entry, run: str, path: Path) -> None:
    found = _run_of(entry, path)
    if found != run:
        raise DataError(
            f"this is the ledger of another run: {found!r}",
            where=str(path),
            expected=f"one of {run!r}, or none yet",
            fix="give another folder; nothing was asked",
        )


def _no_ledger(path: Path) -> DataError:
    return DataError(
        "this is no ledger",
        where=str(path),
        expected=f"a file whose first line is of the kind `ledger`, version {VERSION}",
        fix="give another folder, or move the file away",
    )
