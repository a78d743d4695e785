"""Checkpoints of a run: saved without stopping it, restored exactly, never half written.

    workdir/checkpoints/<step>/state   trainable leaves, optimiser state, guards, step
                              /meta    JSON: format, step, frozen hash, versions, caller's fields
                       /frozen/<hash>  leaves that no step changes (`frozen.py`)
                       /unreadable/    damaged steps, moved aside

Orbax writes a step under a temporary name and renames it once it is completely on disk. `reader.py`
reads from outside a run.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from jax.experimental import multihost_utils
from orbax.checkpoint import checkpoint_managers as policies

from zv_jax.checkpoints import arrays as leaves
from zv_jax.checkpoints import frozen
from zv_jax.checkpoints.reader import (
    FOLDER,
    FORMAT,
    PathLike,
    describe,
    find_steps,
    first_readable,
    load_params,
    located,
    of_run,
    read_meta,
    versions,
)
from zv_jax.config.schema import CheckpointConfig
from zv_jax.errors import CheckpointError

__all__ = [
    "Checkpointer",
    "describe",
    "find_steps",
    "load_params",
    "of_run",
    "read_meta",
    "versions",
]

_ASIDE = "unreadable"

_log = logging.getLogger(__name__)


class Checkpointer:
    """Saves and restores one run. Use it in a `with` block, which waits for the last save.

    All processes of a run must make the same calls.
    """

    def __init__(self, workdir: PathLike, cfg: CheckpointConfig):
        """Opens `cfg.folder`, or else `workdir/checkpoints`.

        Remains of an interrupted save are removed in the background.

        Raises:
            CheckpointError: the directory cannot be created or written.
        """
        self.directory = located(cfg.folder) if cfg.folder else located(workdir) / FOLDER
        self._options = _options(cfg)
        self._frozen = frozen.FrozenStore(self.directory)
        self._running: int | None = None  # the step that is being written
        with leaves.writing(self.directory):
            self._probe()
            self._manager = ocp.CheckpointManager(self.directory, options=self._options)

    def __enter__(self) -> Checkpointer:
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        if kind is None:
            self.close()
            return
        try:
            self.close()
        except CheckpointError as error:
            # Raising it here would hide the error that ended the run.
            _log.error("%s", error)

    def save(
        self,
        step: int,
        state: Mapping[str, Any],
        frozen: Mapping[str, Any],
        meta: Mapping[str, Any],
        *,
        metrics: Mapping[str, float] | None = None,
        force: bool = False,
    ) -> bool:
        """Saves when `step` is due (`cfg.every`, or preemption).

        Returns as soon as the values are copied; files are written during the next steps, and the
        next `save`, `finished` or `wait` raises an error that occurs there. After an error, earlier
        steps remain and saving again is possible.

        Args:
            step: steps done.
            state: `trainable` (a flat dictionary of leaves), `opt_state` and `step`.
            frozen: flat dictionary of the other leaves.
            meta: JSON types: `config`, `tokenizers`, `provenance` and other descriptions.
            metrics: of this step; `cfg.metric` decides which steps are the best.
            force: saves even if no save is due, as after the last step.

        Returns:
            Whether this step is saved, now or before.

        Raises:
            CheckpointError: this save, or the one before it, cannot be written.
        """
        with self._writing():
            self._manager.check_for_errors()
            if step in self._manager.all_steps():
                return True
            if not force and not self._manager.should_save(step):
                return False
            self._probe()
            full = {
                **meta,
                "format": FORMAT,
                "step": int(step),
                "frozen": self._frozen.save(frozen),
                "versions": versions(),
                "metrics": {name: float(value) for name, value in (metrics or {}).items()},
            }
            self._running = step
            return self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=leaves.to_save(leaves.flat(state)), meta=ocp.args.JsonSave(full)
                ),
                metrics=full["metrics"] if self._options.best_fn else None,
                force=force,
            )

    def is_due(self, step: int) -> bool:
        """Whether `save` saves `step` without `force`."""
        return self._manager.should_save(step)

    def finished(self, wait: bool = False) -> int | None:
        """The step whose files were completed since the last call, if any.

        Args:
            wait: for the step that is being written.

        Raises:
            CheckpointError: they cannot be written.
        """
        if self._running is None or (self._manager.is_saving_in_progress() and not wait):
            return None
        self.wait()
        step, self._running = self._running, None
        return step

    def reached_preemption(self, step: int) -> bool:
        """Whether all processes must save `step` and stop, because one received SIGTERM."""
        return self._manager.reached_preemption(step)

    def latest_step(self) -> int | None:
        """The latest saved step; None in a new run."""
        return self._manager.latest_step()

    def restore(self, abstract_state: Any, step: int | None = None) -> Any:
        """The state at `step`, or at the latest step that every process can read.

        A step with damaged files is skipped with a warning and moved aside.

        Args:
            abstract_state: the tree given to `save`, of `jax.ShapeDtypeStruct`s or arrays. A leaf
                with a sharding is returned as a jax array sharded that way, whatever the mesh it
                was saved from; one without as a numpy array. Values are cast to its dtype. Leaves
                of `guards` keep the shapes they were saved with.

        Raises:
            CheckpointError: nothing is saved; a leaf is missing, unknown or of another shape (it
                is named); or no step can be read.
        """
        self.wait()
        steps = [step] if step is not None else sorted(self._manager.all_steps(), reverse=True)
        if not steps:
            raise CheckpointError(
                "there is no checkpoint to restore",
                where=str(self.directory),
                expected="a directory named after a step",
                fix="train without resuming",
            )
        damaged: dict[int, leaves.UnreadableError] = {}
        for candidate in steps:
            state = error = None
            try:
                state = self._restore(candidate, abstract_state)
            except leaves.UnreadableError as unreadable:
                error = unreadable
            if _on_every_process(error is None):
                if damaged:
                    self._set_aside(list(damaged), candidate)
                return state
            damaged[candidate] = error or leaves.UnreadableError(
                "another process cannot read this checkpoint",
                where=str(self.directory / str(candidate)),
                expected="complete, undamaged files that every process sees",
                fix="look at the logs of the other processes",
            )
            _log.warning("checkpoint %d cannot be used:\n%s", candidate, damaged[candidate])
        raise damaged[steps[0]]

    def restore_frozen(
        self,
        abstract: Mapping[str, Any],
        step: int | None = None,
        optional: Collection[str] = (),
    ) -> dict:
        """The frozen leaves of `step` (by default the latest), sharded as in `restore`.

        Args:
            optional: paths of leaves that come too if they are stored, as numpy arrays.

        Raises:
            CheckpointError: a leaf is missing, unknown or of another shape, or files are damaged.
        """
        wanted = {name: leaves.spec(leaf) for name, leaf in abstract.items()}
        number = self.latest_step() if step is None else step
        digest = self.meta(step)["frozen"]
        return self._frozen.load(self.directory / str(number), digest, wanted, optional)

    def meta(self, step: int | None = None) -> dict[str, Any]:
        """The meta of `step`, by default of the latest step that has a readable one.

        Raises:
            CheckpointError: it is missing, damaged or of a newer format.
        """
        if step is not None:
            return read_meta(self.directory / str(step))
        return first_readable(self.directory, None, read_meta)

    def wait(self) -> None:
        """Returns when every save is on the disk.

        Raises:
            CheckpointError: one of them failed.
        """
        with self._writing():
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def close(self) -> None:
        """Waits, then lets go of Orbax's threads."""
        with leaves.writing(self.directory):
            self._manager.close()

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One CheckpointError for a failed save, after which the next one starts afresh."""
        try:
            with leaves.writing(self.directory):
                yield
        except CheckpointError:
            self._running = None
            if jax.process_count() == 1:  # the others would not know, and wait for each other
                self._reopen()
            raise

    def _reopen(self) -> None:
        """A new manager: the old one no longer knows the steps it would have replaced."""
        try:
            self._manager.close()
        except Exception as error:  # the save that failed, once more
            _log.debug("while closing after a failed save: %s", error)
        self._remove_unfinished()
        self._manager = ocp.CheckpointManager(self.directory, options=self._options)

    def _remove_unfinished(self) -> None:
        try:
            for path in self.directory.iterdir():
                if path.is_dir() and ocp.utils.is_tmp_checkpoint(path):
                    path.rmtree()  # it may occupy the space that the next save needs
        except OSError as error:
            _log.warning("what a failed save left cannot be removed: %s", error)

    def _probe(self) -> None:
        """Raises OSError in every process if the first one cannot write."""
        error = None
        if jax.process_index() == 0:
            try:
                self.directory.mkdir(parents=True, exist_ok=True)
                leaves.probe(self.directory)
            except OSError as failed:
                error = failed
        if not _on_every_process(error is None):
            raise error or OSError("the first process cannot write there")

    def _restore(self, step: int, abstract_state: Any) -> Any:
        path = self.directory / str(step)
        read_meta(path)
        wanted = {name: leaves.spec(leaf) for name, leaf in leaves.flat(abstract_state).items()}
        stored = leaves.describe(path / "state")
        for name in wanted.keys() & stored.keys():
            if name.startswith("guards/"):
                wanted[name] = wanted[name].update(shape=stored[name].shape)
        leaves.check(wanted, stored, path, whole=True)
        named = leaves.read(path / "state", wanted)
        return jax.tree.unflatten(jax.tree.structure(abstract_state), [named[n] for n in wanted])

    def _set_aside(self, steps: list[int], used: int) -> None:
        folder = self.directory / _ASIDE
        if jax.process_index() == 0:
            with leaves.writing(folder):
                folder.mkdir(exist_ok=True)
                for step in steps:
                    names = (folder / f"{step}-{i}" for i in range(len(list(folder.iterdir())) + 1))
                    target = next(name for name in names if not name.exists())
                    (self.directory / str(step)).rename(target)
                    _log.warning(
                        "checkpoint %d was damaged and is now at %s; continuing from step %d",
                        step,
                        target,
                        used,
                    )
        if jax.process_count() > 1:
            multihost_utils.sync_global_devices("damaged checkpoints set aside")
        self._manager.reload()


def _options(cfg: CheckpointConfig) -> ocp.CheckpointManagerOptions:
    """Saves every `cfg.every` steps; keeps the latest steps and the best ones."""
    sign = 1.0 if cfg.best_is == "highest" else -1.0

    def score(metrics: Mapping[str, float]) -> float:
        value = sign * metrics.get(cfg.metric, math.nan)
        return value if math.isfinite(value) else -math.inf

    kept = [policies.LatestN(cfg.keep)]
    if cfg.best:
        best = policies.BestN(
            get_metric_fn=score, n=cfg.best, keep_checkpoints_without_metrics=False
        )
        kept.append(best)
    return ocp.CheckpointManagerOptions(
        save_decision_policy=policies.AnySavePolicy(
            [policies.FixedIntervalPolicy(cfg.every), policies.PreemptionCheckpointingPolicy()]
        ),
        preservation_policy=policies.AnyPreservationPolicy(kept),
        best_fn=score if cfg.best else None,
        cleanup_tmp_directories=True,
    )


def _on_every_process(flag: bool) -> bool:
    """Whether `flag` is true in all processes; all of them must call it together."""
    if jax.process_count() == 1:
        return flag
    return bool(multihost_utils.process_allgather(np.asarray(flag)).all())
