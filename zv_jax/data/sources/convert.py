"""Records to one record file, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from zv_jax.data.records.record import Record
from zv_jax.data.sources import prepare
from zv_jax.errors import DataError
from zv_jax.progress import progress_bar


def write_jsonl(records: Iterable[Record], out: str | Path) -> int:
    """Writes one record per line and returns their number.

    The file appears under its name when it is complete.

    Raises:
      DataError: there is no record, or an id repeats; errors of the reader pass through.
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    count = 0
    try:
        with temporary.open("wb") as file, progress_bar(desc="records", unit=" records") as bar:
            for lines in prepare.chunk(records, 1000):
                file.writelines(line + b"\n" for line in lines)
                count += len(lines)
                bar.update(len(lines))
        if not count:
            raise DataError(
                "no record", where=str(out), expected="at least one", fix="check --split"
            )
        os.replace(temporary, out)
    finally:
        temporary.unlink(missing_ok=True)
    return count
