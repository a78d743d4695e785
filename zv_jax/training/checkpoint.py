"""Checkpoints of a run: saved without stopping it, restored exactly, never half there.

    workdir/checkpoints/<step>/state   trainable leaves, optimiser state, step
                              /meta    JSON: format, step, frozen hash, versions, the caller's own
                       /frozen/<hash>  leaves that no step changes (`frozen.py`)
                       /unreadable/    steps that turned out damaged, set aside

Orbax writes a step under a temporary name and renames it when all of it is on the disk.
"""

from __future__ import annotations

import importlib.metadata
import json
import logging
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from orbax.checkpoint import checkpoint_managers as policies

from zv_jax.config import CheckpointConfig
from zv_jax.errors import CheckpointError
from zv_jax.training import frozen, leaves

FORMAT = 1
FOLDER = "checkpoints"
_ASIDE = "unreadable"
_PACKAGES = ("zv_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")

_log = logging.getLogger(__name__)


class Checkpointer:
    """Saves and restores one run. Use it in a `with` block, which waits for the last save.

    All processes of a run must make the same calls.
    """

    def __init__(self, workdir: Path, cfg: CheckpointConfig):
        """Opens `workdir/checkpoints`; what an interrupted save left is removed in the background.

        Raises:
            CheckpointError: the directory cannot be made or written.
        """
        self.directory = Path(workdir).absolute() / FOLDER
        self._frozen = frozen.FrozenStore(self.directory)
        options = ocp.CheckpointManagerOptions(
            save_decision_policy=policies.AnySavePolicy(
                [policies.FixedIntervalPolicy(cfg.every), policies.PreemptionCheckpointingPolicy()]
            ),
            preservation_policy=policies.LatestN(cfg.keep),
            cleanup_tmp_directories=True,
        )
        with leaves.writing(self.directory):
            if jax.process_index() == 0:
                self.directory.mkdir(parents=True, exist_ok=True)
                leaves.probe(self.directory)
            self._manager = ocp.CheckpointManager(self.directory, options=options)

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
        force: bool = False,
    ) -> bool:
        """Saves when `step` is due (`cfg.every`, or the machine is about to be taken away).

        Returns as soon as the values are copied; files are written behind the next steps, and an
        error there is raised by the next `save` or `wait`.

        Args:
            step: steps done.
            state: `trainable` (a flat dictionary of leaves), `opt_state` and `step`.
            frozen: flat dictionary of the other leaves.
            meta: JSON types: `config`, `tokenizers`, `provenance` and whatever else describes it.
            force: saves though no save is due, as after the last step.

        Returns:
            Whether this step is saved now or was already.

        Raises:
            CheckpointError: this save, or the one before it, cannot be written.
        """
        with leaves.writing(self.directory):
            self._manager.check_for_errors()
            if step in self._manager.all_steps():
                return True
            if not force and not self._manager.should_save(step):
                return False
            if jax.process_index() == 0:
                leaves.probe(self.directory)
            full = {
                **meta,
                "format": FORMAT,
                "step": int(step),
                "frozen": self._frozen.save(frozen),
                "versions": versions(),
            }
            return self._manager.save(
                step,
                args=ocp.args.Composite(
                    state=leaves.to_save(leaves.flat(state)), meta=ocp.args.JsonSave(full)
                ),
                force=force,
            )

    def reached_preemption(self, step: int) -> bool:
        """Whether the machine is about to be taken away: `save` has saved; `wait`, then stop."""
        return self._manager.reached_preemption(step)

    def latest_step(self) -> int | None:
        """The last step saved, None in a new run."""
        return self._manager.latest_step()

    def restore(self, abstract_state: Any, step: int | None = None) -> Any:
        """The state at `step`, or at the latest step that can be read.

        A step whose files turn out damaged is skipped with a warning and set aside, in a run of
        one process. In a larger one it is an error: the processes could not agree in time.

        Args:
            abstract_state: the tree given to `save`, of `jax.ShapeDtypeStruct`s or arrays. A leaf
                with a sharding comes back as a jax array placed so, whatever the mesh it was
                saved from; one without as a numpy array. Values are cast to the dtype here.

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
        one_process = jax.process_count() == 1
        damaged: list[tuple[int, leaves.UnreadableError]] = []
        for candidate in steps:
            try:
                state = self._restore(candidate, abstract_state)
            except leaves.UnreadableError as error:
                if not one_process or step is not None:
                    raise
                _log.warning("checkpoint %d is skipped:\n%s", candidate, error)
                damaged.append((candidate, error))
                continue
            if damaged:
                self._set_aside([number for number, _ in damaged], candidate)
            return state
        raise damaged[0][1]

    def restore_frozen(self, abstract: Mapping[str, Any], step: int | None = None) -> dict:
        """The frozen leaves of `step` (by default the latest), placed as `restore` places them.

        Raises:
            CheckpointError: a leaf is missing, unknown or of another shape, or files are damaged.
        """
        digest = self.meta(step)["frozen"]
        wanted = {name: leaves.spec(leaf) for name, leaf in abstract.items()}
        if digest is None:
            leaves.check(wanted, {}, self.directory, whole=True)
            return {}
        path = frozen.directory(self._step_directory(step), digest)
        leaves.check(wanted, leaves.describe(path), path, whole=True)
        return leaves.read(path, wanted)

    def meta(self, step: int | None = None) -> dict[str, Any]:
        """The meta of `step`, by default of the latest step that has a readable one.

        Raises:
            CheckpointError: it is missing, damaged or of a newer format.
        """
        if step is not None:
            return read_meta(self._step_directory(step))
        return _first_readable(self.directory, None, read_meta)

    def wait(self) -> None:
        """Returns when every save is on the disk.

        Raises:
            CheckpointError: one of them failed.
        """
        with leaves.writing(self.directory):
            self._manager.wait_until_finished()
            self._manager.check_for_errors()

    def close(self) -> None:
        """Waits, then lets go of Orbax's threads."""
        with leaves.writing(self.directory):
            self._manager.close()

    def _step_directory(self, step: int | None) -> Path:
        number = self.latest_step() if step is None else step
        return self.directory / str(number)

    def _restore(self, step: int, abstract_state: Any) -> Any:
        path = self.directory / str(step)
        read_meta(path)
        wanted = {name: leaves.spec(leaf) for name, leaf in leaves.flat(abstract_state).items()}
        leaves.check(wanted, leaves.describe(path / "state"), path, whole=True)
        named = leaves.read(path / "state", wanted)
        return jax.tree.unflatten(jax.tree.structure(abstract_state), [named[n] for n in wanted])

    def _set_aside(self, steps: list[int], used: int) -> None:
        folder = self.directory / _ASIDE
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
            self._manager.reload()


def versions() -> dict[str, str]:
    """Versions of what wrote a checkpoint."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def read_meta(step_directory: Path) -> dict[str, Any]:
    """The JSON saved with a step.

    Raises:
        UnreadableError: it is missing or damaged.
        CheckpointError: a newer version of this program wrote it.
    """
    path = step_directory / "meta" / "metadata"
    with leaves.reading(step_directory):
        meta = json.loads(path.read_text("utf-8"))
        newer = meta["format"] > FORMAT
    if newer:
        raise CheckpointError(
            f"the checkpoint has format {meta['format']}",
            where=str(step_directory),
            expected=f"format {FORMAT} or older",
            fix="update zv_jax",
        )
    return meta


def find_steps(path: str | Path, step: int | None = None) -> list[Path]:
    """Finished step directories at `path`, latest first.

    Args:
        path: a workdir, its `checkpoints` directory, or one step's directory.
        step: only this one.

    Raises:
        CheckpointError: there is none.
    """
    root = Path(path).expanduser().absolute()
    if root.name.isdecimal() and (root / "state").is_dir():
        found = [root]
    else:
        folder = root / FOLDER if (root / FOLDER).is_dir() else root
        children = folder.iterdir() if folder.is_dir() else ()
        found = [child for child in children if child.name.isdecimal() and child.is_dir()]
        found.sort(key=lambda child: int(child.name), reverse=True)
    if step is not None:
        chosen = [child for child in found if int(child.name) == step]
    else:
        chosen = found
    if chosen:
        return chosen
    have = ", ".join(child.name for child in reversed(found)) or "none"
    raise CheckpointError(
        "no checkpoint here" if step is None else f"no checkpoint of step {step} (have: {have})",
        where=str(root),
        expected="a workdir, its checkpoints directory, or one step's directory",
        fix="give the --workdir of a training run that has saved at least once"
        if step is None
        else "leave the step out, or choose one of those",
    )


def describe(
    path: str | Path, step: int | None = None
) -> tuple[dict[str, jax.ShapeDtypeStruct], dict[str, Any]]:
    """Names, shapes and dtypes of all parameter leaves, and the meta; no value is read.

    Without `step`, a damaged step gives way to the one before it, with a warning.

    Raises:
        CheckpointError: as `load_params`.
    """
    return _first_readable(path, step, _describe)


def load_params(
    path: str | Path,
    step: int | None = None,
    only: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All parameter leaves (trainable and frozen) of a checkpoint, and its meta.

    Without `step`, a damaged step gives way to the one before it, with a warning.

    Args:
        path: a workdir, its `checkpoints` directory, or one step's directory.
        step: this one and no other.
        only: abstract leaves by name: read these alone, cast to their dtype, and place those that
            have a sharding.

    Returns:
        `{"params/vision/...": array, "lora/llm/...": array}` of numpy arrays (jax arrays where
        `only` gives a sharding), and the meta.

    Raises:
        CheckpointError: nothing there, damaged files, or a leaf of `only` missing or of another
            shape.
    """

    def load(directory: Path) -> tuple[dict[str, Any], dict[str, Any]]:
        stored, meta = _describe(directory)
        if only is None:
            wanted = stored
        else:
            wanted = {name: leaves.spec(leaf) for name, leaf in only.items()}
            leaves.check(wanted, stored, directory, whole=False)
        found: dict[str, Any] = {}
        if meta["frozen"] is not None:
            source = frozen.directory(directory, meta["frozen"])
            inside = leaves.describe(source)
            chosen = inside if only is None else frozen.with_scales(wanted, inside)
            found = leaves.read(source, chosen)
            if only is None:
                frozen.verify(found, meta["frozen"], source)
            found = frozen.unscaled(found, wanted)
        prefix = "trainable/"
        rest = {prefix + k: v for k, v in wanted.items() if k not in found}
        values = leaves.read(directory / "state", rest)
        found.update((name.removeprefix(prefix), value) for name, value in values.items())
        return {name: found[name] for name in wanted}, meta

    return _first_readable(path, step, load)


def _describe(directory: Path) -> tuple[dict[str, jax.ShapeDtypeStruct], dict[str, Any]]:
    meta = read_meta(directory)
    prefix = "trainable/"
    state = leaves.describe(directory / "state")
    found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if meta["frozen"] is not None:
        inside = leaves.describe(frozen.directory(directory, meta["frozen"]))
        found.update(frozen.as_unscaled(inside))
    return found, meta


def _first_readable(path: str | Path, step: int | None, action: Any) -> Any:
    candidates = find_steps(path, step)
    first: leaves.UnreadableError | None = None
    for candidate in candidates:
        try:
            return action(candidate)
        except leaves.UnreadableError as error:
            _log.warning("checkpoint %s cannot be used:\n%s", candidate.name, error)
            first = first or error
    raise first
