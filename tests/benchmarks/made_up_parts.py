"""Parts of a suite that measure nothing."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

from benchmarks.rows import Peaks, Row
from zv_jax.errors import ConfigError


def peaks() -> Iterator[Peaks]:
    yield Peaks(100.0, 50.0, "float32", "cpu")


def works(name: str) -> Iterator[Row]:
    yield Row("works", name, "nobody", (1.0, 2.0, 3.0), (2.0, 2.0, 2.0), counted=120.0, read=50.0)


def fails() -> Iterator[Row]:
    yield Row("fails", "the first half", "nobody", (5.0,), (10.0,))
    raise ConfigError("there is no second half", where="made_up_parts.py")


def hangs(folder: str) -> Iterator[Row]:
    child = os.fork()
    if child:
        Path(folder, "child").write_text(str(child))
    signal.pause()
    yield Row("hangs", "never")
