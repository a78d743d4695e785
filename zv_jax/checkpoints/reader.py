"""Reads checkpoints from outside a run: steps, their meta, their parameters."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import os
import platform
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import jax
from etils import epath

from zv_jax.checkpoints import arrays as leaves
from zv_jax.checkpoints import frozen
from zv_jax.errors import CheckpointError, hub_fix

FORMAT = 2  # 1: without guards and without names in the fingerprint
FOLDER = "checkpoints"
PathLike = str | os.PathLike[str]
T = TypeVar("T")
# Fields of the meta that this package writes itself; a hash is the name of a folder.
_META: dict[str, Callable[[Any], bool]] = {
    "format": lambda value: type(value) is int,
    "step": lambda value: type(value) is int and value >= 0,
    "frozen": lambda value: (
        value is None
        or (isinstance(value, str) and re.fullmatch("[0-9a-f]{16}", value) is not None)
    ),
}
_SECTIONS = ("model", "stage", "data", "train")
_OF_RUN: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "config": (
        "sections of fields",
        lambda value: (
            isinstance(value, dict)
            and all(isinstance(value.get(section, {}), dict) for section in _SECTIONS)
        ),
    ),
    "tokenizers": (
        "two fingerprints",
        lambda value: (
            isinstance(value, list) and all(isinstance(word, str | None) for word in value)
        ),
    ),
    "provenance": ("a table, or nothing", lambda value: isinstance(value, dict | None)),
    "changes": ("a list", lambda value: isinstance(value, list)),
    "fingerprint": ("names and values", lambda value: isinstance(value, dict)),
}
_PACKAGES = ("zv_jax", "jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy")

_log = logging.getLogger(__name__)


def located(path: PathLike) -> epath.Path:
    """`path` made absolute; gs:// paths are unchanged."""
    text = os.fspath(path)
    return epath.Path(text if "://" in text else os.path.abspath(os.path.expanduser(text)))


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that write a checkpoint."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def read_meta(step_directory: epath.Path) -> dict[str, Any]:
    """The JSON saved with a step.

    Raises:
        UnreadableError: it is missing or damaged.
        CheckpointError: a newer version of this program wrote it.
    """
    path = step_directory / "meta" / "metadata"
    with leaves.reading(step_directory):
        meta = json.loads(path.read_text("utf-8"))
        for name, right in _META.items():
            if not right(meta[name]):
                raise ValueError(f"its {name} is {meta[name]!r:.200}")
    if meta["format"] > FORMAT:
        raise CheckpointError(
            f"the checkpoint has format {meta['format']}",
            where=str(step_directory),
            expected=f"format {FORMAT} or older",
            fix="update zv_jax",
        )
    return meta


def of_run(meta: dict[str, Any], where: PathLike) -> dict[str, Any]:
    """`meta` itself, after checking the types of the fields that a run adds, where present.

    Raises:
        CheckpointError: a field has another type.
    """
    for name, (kind, right) in _OF_RUN.items():
        if name in meta and not right(meta[name]):
            raise CheckpointError(
                f"the checkpoint's {name} is {meta[name]!r:.200}",
                where=str(where),
                expected=kind,
                fix="copy the checkpoint again from where it came from",
            )
    return meta


def find_steps(path: PathLike, step: int | None = None) -> list[epath.Path]:
    """Finished step directories at `path`, latest first.

    Args:
        path: a workdir, its `checkpoints` directory, or one step's directory.
        step: only this one.

    Raises:
        CheckpointError: there is none.
    """
    root = located(path)
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
        fix=hub_fix(path, "give the --workdir of a training run that has saved at least once")
        if step is None
        else "leave the step out, or choose one of those",
    )


def describe(
    path: PathLike, step: int | None = None
) -> tuple[dict[str, jax.ShapeDtypeStruct], dict[str, Any]]:
    """Names, shapes and dtypes of all parameter leaves, and the meta; no value is read.

    Without `step`, a damaged step is skipped with a warning, and the one before it is used.

    Raises:
        CheckpointError: as in `load_params`.
    """
    return first_readable(path, step, _describe)


def load_params(
    path: PathLike,
    step: int | None = None,
    only: Mapping[str, Any] | None = None,
) -> tuple[dict[str, Any], dict[str, Any]]:
    """All parameter leaves (trainable and frozen) of a checkpoint, and its meta.

    Without `step`, a damaged step is skipped with a warning, and the one before it is used.

    Args:
        path: a workdir, its `checkpoints` directory, or one step's directory.
        step: only this one.
        only: abstract leaves by name: read only these, cast to their dtype, and shard those that
            have a sharding.

    Returns:
        `{"params/vision/...": array, "lora/llm/...": array}` of numpy arrays (jax arrays where
        `only` gives a sharding), and the meta.

    Raises:
        CheckpointError: there is no checkpoint, its files are damaged, or a leaf of `only` is
            missing or has another shape.
    """

    def load(directory: epath.Path) -> tuple[dict[str, Any], dict[str, Any]]:
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
            found = frozen.unscaled(found, wanted, source)
        prefix = "trainable/"
        rest = {prefix + k: v for k, v in wanted.items() if k not in found}
        values = leaves.read(directory / "state", rest)
        found.update((name.removeprefix(prefix), value) for name, value in values.items())
        return {name: found[name] for name in wanted}, meta

    return first_readable(path, step, load)


def _describe(directory: epath.Path) -> tuple[dict[str, jax.ShapeDtypeStruct], dict[str, Any]]:
    meta = read_meta(directory)
    prefix = "trainable/"
    state = leaves.describe(directory / "state")
    found = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
    if meta["frozen"] is not None:
        inside = leaves.describe(frozen.directory(directory, meta["frozen"]))
        found.update(frozen.as_unscaled(inside))
    return found, meta


def first_readable(path: PathLike, step: int | None, action: Callable[[epath.Path], T]) -> T:
    """`action` on the newest step with intact files, or on `step`.

    Raises:
        CheckpointError: there is none.
    """
    candidates = find_steps(path, step)
    first: leaves.UnreadableError | None = None
    for candidate in candidates:
        try:
            return action(candidate)
        except leaves.UnreadableError as error:
            _log.warning("checkpoint %s cannot be used:\n%s", candidate.name, error)
            first = first or error
    raise first
