"""One log file for each host: what the program says, warns of and dies of."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zv_jax.errors import CheckpointError, ZvError

_FORMAT = "%(asctime)s %(levelname)s %(name)s: %(message)s"

SAID = logging.getLogger("zv_jax.said")  # what is shown on the terminal anyway; to the file alone
SAID.setLevel(logging.INFO)
SAID.propagate = False


def log_path(workdir: Path, process: int) -> Path:
    """`run.log` of the first process, `run-N.log` of the others."""
    return workdir / ("run.log" if process == 0 else f"run-{process}.log")


@contextmanager
def run_log(workdir: Path, process: int) -> Iterator[None]:
    """Inside, every message of ours goes to the file too, and so does the error that leaves.

    Raises:
        CheckpointError: the file cannot be opened.
    """
    try:
        workdir.mkdir(parents=True, exist_ok=True)
        file = logging.FileHandler(log_path(workdir, process), "a", encoding="utf-8")
    except OSError as error:
        raise CheckpointError(
            f"the log cannot be written: {error.strerror}",
            where=str(log_path(workdir, process)),
            expected="a directory that can be written",
            fix="give another --workdir",
        ) from error
    file.setFormatter(logging.Formatter(_FORMAT))
    handlers = [(SAID, file), (logging.getLogger("zv_jax"), file)]
    if not logging.getLogger().handlers:
        # With a handler of ours, Python no longer shows warnings where there is no other.
        shown = logging.StreamHandler(sys.stderr)
        shown.setLevel(logging.WARNING)
        handlers.append((logging.getLogger(), shown))
    for logger, handler in handlers:
        logger.addHandler(handler)
    try:
        yield
    except ZvError as error:
        SAID.error("ended by an error: %s", error)
        raise
    except BaseException as error:
        SAID.error("ended by %r", error, exc_info=True)
        raise
    finally:
        for logger, handler in handlers:
            logger.removeHandler(handler)
            handler.close()
