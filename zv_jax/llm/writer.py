"""Adds entries to a ledger from an event loop: all that wait go to the disk with one fsync."""

from __future__ import annotations

import asyncio
from typing import Any

from zv_jax.errors import ZvError
from zv_jax.llm.ledger import Ledger


class Writer:
    """Writes for the tasks of one event loop."""

    def __init__(self, ledger: Ledger):
        self._ledger = ledger
        self._waiting: list[tuple[dict[str, Any], asyncio.Future[None]]] = []
        self._task: asyncio.Task[None] | None = None

    async def add(self, entry: dict[str, Any]) -> None:
        """Returns when `entry` is on the disk.

        Raises:
            SetupError: the disk did not take it.
        """
        done = asyncio.get_running_loop().create_future()
        self._waiting.append((entry, done))
        if self._task is None:
            self._task = asyncio.create_task(self._write())
        await done

    async def idle(self) -> None:
        """Returns when nothing waits to be written."""
        if self._task is not None:
            await self._task

    async def _write(self) -> None:
        while self._waiting:
            batch, self._waiting = self._waiting, []
            error: ZvError | None = None
            try:
                await asyncio.to_thread(self._ledger.add, [entry for entry, _ in batch])
            except ZvError as failed:
                error = failed
            for _, done in batch:
                if done.cancelled():
                    continue
                if error is None:
                    done.set_result(None)
                else:
                    done.set_exception(error)
        self._task = None
