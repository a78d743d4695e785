"""Folders of numbered shards of JSON lines; a shard is there whole or not at all."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.errors import ConfigError, DataError
from zv_jax.files import write_atomic, write_json

ABOUT = "step.json"
ANOTHER = "give another --workdir, or remove the folder"


class Shards:
    """One folder.

    Attributes:
      folder: where; made by `begin`.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    def begin(self, step: str, settings: Mapping[str, Any], fix: str = ANOTHER) -> None:
        """Notes what the folder is made with, or compares it with what is noted.

        Args:
          fix: what to do about other settings.

        Raises:
          ConfigError: it was made with other settings: half of the shards would be of another kind.
        """
        about = json.loads(json.dumps({"step": step, "settings": dict(settings)}))
        file = self.folder / ABOUT
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            if not file.exists():
                write_json(file, about)
                return
            before = json_input.parse(file.read_bytes(), str(file))
        except OSError as error:
            raise DataError(
                f"the folder of a step cannot be used: {error.strerror}",
                where=str(self.folder),
                expected="a folder that can be written",
                fix="give another --workdir",
            ) from error
        if before != about:
            raise ConfigError(
                f"this folder was made with other settings: {_difference(before, about)}",
                where=str(self.folder),
                expected=f"the settings in {ABOUT}",
                fix=fix,
            )

    def numbers(self) -> list[int]:
        """The shards that are there."""
        return sorted(int(file.stem) for file in self.folder.glob("[0-9]*.jsonl"))

    def path(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / f"{number:05d}.jsonl"

    def has(self, number: int) -> bool:
        """Whether a shard is there."""
        return self.path(number).exists()

    def rows(self, number: int) -> Iterator[tuple[str, bytes]]:
        """(file and line, bytes) of each line of a shard, which may be empty."""
        path = self.path(number)
        return ((f"{path}:{line}", text) for line, text in json_input.numbered(path))

    def write(self, number: int, rows: Iterable[Mapping[str, Any]]) -> None:
        """Writes a shard.

        Raises:
          DataError: the disk is full or the folder cannot be written.
        """
        lines = [json.dumps(row, ensure_ascii=False, separators=(",", ":")) for row in rows]
        try:
            write_atomic(self.path(number), "".join(f"{line}\n" for line in lines).encode())
        except OSError as error:
            raise DataError(
                f"a shard cannot be written: {error.strerror}",
                where=str(self.path(number)),
                expected="room on the disk",
                fix="make room and run the same command again; nothing is asked twice",
            ) from error

    def require(self, step: str) -> None:
        """Raises a `DataError` if the folder has no shard yet; `step` is what makes them."""
        if not self.numbers():
            raise DataError(
                "no shards to begin with",
                where=str(self.folder),
                expected=f"what `zv bmmic {step}` writes",
                fix=f"zv bmmic {step} --config ... --workdir {self.folder.parent}",
            )


def _difference(before: Any, now: Any) -> str:
    """The first settings that differ, as `a.b: 1 instead of 2`."""
    if isinstance(before, dict) and isinstance(now, dict):
        for key in sorted({*before, *now}):
            if before.get(key) != now.get(key):
                inner = _difference(before.get(key), now.get(key))
                return f"{key}.{inner}" if not inner.startswith(":") else f"{key}{inner}"
    return f": {before!r:.60} then, {now!r:.60} now"
