"""Parquet files, opened in one place: a small one that holds more than memory is refused.

What is stored compresses: by a codec, as a value that is written once for many rows, as runs of
equal values. The footer says how much there is before any of it is read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

FREE = 256 * 2**20
"""Bytes that a column of a row group may hold however little of the file it takes."""
RATIO = 200
"""Times that a column may grow beyond `FREE`; text shrinks to a tenth, images hardly at all."""
LONGEST = 2**16
"""Values of the average row beyond `FREE`: a row of a data set has some hundreds of tokens."""
ROWS = 256  # in memory at once, images and all
ONCE = 2**30
"""Bytes that they may take, if a value that is stored once stands in each of them."""


def open_file(path: str | Path) -> Any:
    """The `pyarrow.parquet.ParquetFile` at `path`.

    Raises:
        ValueError: its columns grow beyond measure. What pyarrow raises of damaged files, besides.
    """
    import pyarrow.parquet

    table = pyarrow.parquet.ParquetFile(path)
    for column in _chunks(table.metadata):
        grows = column.total_uncompressed_size > max(FREE, RATIO * column.total_compressed_size)
        if grows or column.num_values > max(FREE, LONGEST * table.metadata.num_rows):
            raise ValueError(
                f"column {column.path_in_schema!r} holds {column.num_values:,} values of "
                f"{column.total_uncompressed_size:,} bytes in {column.total_compressed_size:,}"
            )
    return table


def batches(table: Any, columns: Sequence[str] | None = None) -> Iterator[Any]:
    """Record batches of an open file, of at most `ROWS` rows; of fewer where rows may be long."""
    shared = [c.total_uncompressed_size for c in _chunks(table.metadata) if c.has_dictionary_page]
    rows = ONCE // max([1, *shared])
    return table.iter_batches(max(1, min(ROWS, rows)), columns=columns)


def _chunks(metadata: Any) -> Iterator[Any]:
    for group in range(metadata.num_row_groups):
        row_group = metadata.row_group(group)
        yield from map(row_group.column, range(row_group.num_columns))
