"""`--follow`: a server that takes each new checkpoint of a run that still trains."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from zv_jax.checkpoints import reader
from zv_jax.errors import CheckpointError
from zv_jax.inference.model import Model

EVERY = 2.0  # seconds between two looks into the folder

_log = logging.getLogger(__name__)


@dataclass
class Current:
    """The model that answers now. A request keeps to the one that it began with."""

    model: Model


class Follower(threading.Thread):
    """Reads each new checkpoint of a run, and offers its model; `with Follower(...)` while it does.

    A checkpoint that cannot be read, for instance because training has just removed it, is logged
    and left out: the server goes on with what it has.

    Args:
        run: workdir of the run.
        model: of one of its checkpoints.
        offer: called with each new model, on this thread.
        every: seconds between two looks.
    """

    def __init__(
        self,
        run: reader.PathLike,
        model: Model,
        offer: Callable[[Model], None],
        every: float = EVERY,
    ):
        super().__init__(name="follower", daemon=True)
        self._run, self._model, self._offer, self._every = run, model, offer, every
        self._tried = model.step
        self._ended = threading.Event()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Looks no more; what is being read is read to its end."""
        self._ended.set()
        self.join()

    def run(self) -> None:
        while not self._ended.wait(self._every):
            try:
                newest = reader.find_steps(self._run)[0]
                if (step := int(newest.name)) == self._tried:
                    continue
                self._tried = step
                self._model = self._model.at(newest)
            except CheckpointError as error:
                _log.warning("a checkpoint is left out: %s", error)
                continue
            self._offer(self._model)


def first_checkpoint(run: reader.PathLike, every: float = EVERY) -> None:
    """Waits until a run that has begun to train has saved a checkpoint.

    Raises:
        CheckpointError: there is no such folder.
    """
    if not reader.located(run).is_dir():
        raise CheckpointError(
            "no such folder",
            where=str(run),
            expected="the --workdir of a training run",
            fix="start the training first, or correct the path",
        )
    told = False
    while True:
        try:
            reader.find_steps(run)
            return
        except CheckpointError:
            if not told:
                _log.warning("waiting for the first checkpoint of %s", run)
                told = True
            time.sleep(every)
