"""Parquet files, opened in one place: a small one that holds more than memory is refused.

What is stored compresses: by a codec, as a value that is written once for many rows, as runs of
equal values. The footer says how much there is before any of it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FREE = 256 * 2**20
"""Bytes that a file may hold however small it is."""
RATIO = 200
"""Times that it may grow beyond `FREE`; text shrinks to a tenth, images hardly at all."""
ROWS = 256  # in memory at once, images and all
ONCE = 2**30
"""Bytes that they may take, if what is stored once stands in each of them."""


def open_file(path: str | Path) -> Any:
    """The `pyarrow.parquet.ParquetFile` at `path`.

    Raises:
        ValueError: it grows beyond measure. What pyarrow raises of damaged files, besides.
    """
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(path)
    holds, size = sum(_sizes(table.metadata)), Path(path).stat().st_size
    if holds > max(FREE, RATIO * size):
        raise ValueError(f"it holds {holds:,} bytes in {size:,}")
    return table


def batches(table: Any, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Record batches of an open file, of at most `ROWS` rows; of fewer where rows may be long."""
    rows = ONCE // max([1, *_sizes(table.metadata)])
    return table.iter_batches(max(1, min(ROWS, rows)), columns=columns)


def _sizes(metadata: Any) -> list[int]:
    """Bytes of each row group before compression. Of columns a damaged footer says things that
    end the process where pyarrow reads them."""
    return [metadata.row_group(group).total_byte_size for group in range(metadata.num_row_groups)]
