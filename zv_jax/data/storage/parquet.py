"""Parquet files, opened in one place: a small one that holds more than memory is refused.

What is stored compresses: by a codec, as a value that is written once for many rows, as runs of
equal values. The pages say how much there is before any of them is decoded.
"""

from __future__ import annotations

import bisect
import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from zv_jax.data.storage import parquet_pages
from zv_jax.data.storage.parquet_pages import Chunk

FREE = 256 * 2**20
"""Bytes that a file may hold however small it is."""
RATIO = 200
"""Times that it may grow beyond `FREE`; text shrinks to a tenth, images hardly at all."""
COUNT = 2**20
"""Rows that it may have however small it is."""
ROWS = 256  # in memory at once, images and all
ONCE = 2**30
"""Bytes that they may take, if what is stored once stands in each of them."""


class Table:
    """A Parquet file that is open; `schema` is that of Arrow.

    Raises:
        ValueError: it grows beyond measure. What pyarrow raises of damaged files, besides.
    """

    def __init__(self, path: str | Path):
        import pyarrow.parquet

        self._file = pyarrow.parquet.ParquetFile(path)
        self.schema = self._file.schema_arrow
        self._chunks = parquet_pages.chunks(path)
        self._check(Path(path).stat().st_size)

    def _check(self, size: int) -> None:
        holds, rows = sum(chunk.holds for chunk in self._chunks), self._file.metadata.num_rows
        if holds > max(FREE, RATIO * size):
            raise ValueError(f"it holds {holds:,} bytes in {size:,}")
        if rows > max(COUNT, RATIO * size):
            raise ValueError(f"it has {rows:,} rows in {size:,} bytes")
        for chunk in self._chunks:
            if self._lists(chunk):  # a row may hold all of it
                self._check_swelling(chunk)

    def _check_swelling(self, chunk: Chunk) -> None:
        if chunk.swells > max(ONCE, RATIO * chunk.stored):
            raise ValueError(
                f"column {self._leaf(chunk).path!r} may take {chunk.swells:,} bytes of memory and "
                f"has {chunk.stored:,} in the file; write it again, in "
                "smaller row groups and without dictionaries"
            )

    def _leaf(self, chunk: Chunk) -> Any:
        return self._file.schema.column(chunk.column)

    def _lists(self, chunk: Chunk) -> bool:
        return self._leaf(chunk).max_repetition_level > 0

    def batches(self, columns: Sequence[str] | None = None) -> Iterator[Any]:
        """Record batches of at most `ROWS` rows; of fewer where rows may be long."""
        widths: dict[int, int] = {}
        for chunk in self._chunks:
            if not self._lists(chunk):
                widths[chunk.group] = widths.get(chunk.group, 0) + chunk.longest
        rows = ONCE // max([1, *widths.values()])
        return self._file.iter_batches(max(1, min(ROWS, rows)), columns=columns)

    @functools.cached_property
    def starts(self) -> list[int]:
        """The first row of each row group."""
        starts, metadata = [0], self._file.metadata
        for group in range(metadata.num_row_groups - 1):
            starts.append(starts[-1] + metadata.row_group(group).num_rows)
        return starts

    def group(self, row: int) -> int:
        """The row group that a row is in, or would be."""
        return bisect.bisect_right(self.starts, row) - 1

    def column(self, group: int, name: str) -> Any:
        """A column of a row group, as a chunked array.

        Raises:
            ValueError: it may take more memory than there is.
        """
        for chunk in self._chunks:
            path = self._leaf(chunk).path if chunk.group == group else ""
            if path == name or path.startswith(f"{name}."):
                self._check_swelling(chunk)
        return self._file.read_row_group(group, [name]).column(0)
