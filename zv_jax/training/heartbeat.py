"""A sign of life while something takes long and says nothing by itself, such as a compilation."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from zv_jax.parallel.distributed import journal


@contextmanager
def heartbeat(what: str, say: Callable[[str], None], every: float = 30.0) -> Iterator[None]:
    """Says `what` and the seconds so far, every so many seconds, until the block ends.

    The log of each process gets every beat, and the duration at the end.
    """
    began, over = time.monotonic(), threading.Event()

    def beat() -> None:
        while not over.wait(every):
            say(f"{what}: {time.monotonic() - began:.0f} s")

    thread = threading.Thread(target=beat, daemon=True, name="heartbeat")
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
    journal.info("%s took %.1f s", what, time.monotonic() - began)
