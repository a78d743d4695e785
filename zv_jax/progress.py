"""Progress bars: for a terminal one that moves, into a file a line now and then."""

from __future__ import annotations

import sys
from typing import Any, TextIO

from tqdm import tqdm

_EVERY = 30.0  # seconds between the lines of a file


def progress_bar(stream: TextIO | None = None, **options: Any) -> tqdm:
    """A bar on `stream` (stderr); `options` are those of tqdm.

    Where that is no terminal, each state is a line of its own, one every 30 seconds and the last:
    a log of many hours stays readable.
    """
    stream = stream or sys.stderr
    if stream.isatty():
        return tqdm(file=stream, dynamic_ncols=True, **options)
    # tqdm shortens an interval that it finds long, unless `maxinterval` is as long.
    return tqdm(file=_Lines(stream), mininterval=_EVERY, maxinterval=_EVERY, ncols=100, **options)


class _Lines:
    """What goes over the line before, on a line below it."""

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> None:
        if shown := text.strip("\r\n "):
            self._stream.write(f"{shown}\n")

    def flush(self) -> None:
        self._stream.flush()
