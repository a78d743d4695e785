"""Builds the default data set into the user's cache, once, and finds it again.

``prepare`` makes or reuses, `open_split` reads, `peek` shows. A folder counts as prepared only
when its manifest, written last and moved into place in one step with everything else, agrees with
every byte.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

import tensorflow_datasets as tfds
from absl import logging as absl_logging

from zv_jax.data.openmoji import builder as builder_lib
from zv_jax.data.openmoji import manifest, render
from zv_jax.data.openmoji.builder import Recipe
from zv_jax.data.openmoji.peek import peek
from zv_jax.data.openmoji.source import SceneSource, open_split
from zv_jax.errors import DataError, unknown_name
from zv_jax.parallel.runtime import cache_dir
from zv_jax.progress import progress_bar

__all__ = ["Recipe", "SceneSource", "open_split", "peek", "prepare"]

_log = logging.getLogger(__name__)
_INCOMPLETE = ".incomplete-"
_ROW_TEXT_BYTES = 20_000  # generous size of a scene's records as JSON lines
_PIXEL_BYTES = 0.5  # generous size of a PNG pixel of these flat pictures


def prepare(
    data_dir: str | os.PathLike | None = None,
    concepts: str = "everyday",
    seed: int = 0,
    train: int | None = None,
    val: int | None = None,
    test: int | None = None,
    canvas: int = 128,
    progress: bool = True,
) -> Path:
    """Makes the OpenMoji scenes, or finds them if the same ones are already there and intact.

    Args:
      data_dir: where to put them, also usable as ``data_dir`` of TFDS; the user's cache by default.
      concepts: ``"everyday"`` or ``"all"``.
      seed: of the sampling and the wording.
      train: scenes in the split; like ``val`` and ``test`` by default that of the standard recipe
        (everyday: 8000, 300, 300).
      canvas: side of the pictures in pixels.
      progress: whether to show a progress bar.

    Returns:
      The folder with the shards, ``manifest.json`` and ``ATTRIBUTION.md``, for `open_split`.

    Raises:
      DataError: a wrong parameter, too little disk space, or a folder that cannot be written.
      SetupError: a package for drawing is missing.
    """
    recipe = _recipe(concepts, seed, train, val, test, canvas)
    root = Path(data_dir).expanduser() if data_dir else cache_dir()
    final = root / builder_lib.ZvOpenmoji.name / recipe.name / str(builder_lib.ZvOpenmoji.VERSION)
    if final.exists():
        why = manifest.problem(final, recipe)
        if why is None:
            return final
        _log.warning("Making the OpenMoji scenes again in %s: %s.", final, why)
    render.require_packages()
    _check_space(root, recipe)
    with _workplace(root) as work:
        built = _build(work, recipe, progress)
        (built / "ATTRIBUTION.md").write_text(builder_lib.ATTRIBUTION, encoding="utf-8")
        manifest.write(built, recipe)
        _move(built, final, work / "old", recipe)
    return final


def _recipe(
    concepts: str, seed: int, train: int | None, val: int | None, test: int | None, canvas: int
) -> Recipe:
    if concepts not in builder_lib.STANDARD:
        raise unknown_name(
            "concepts", concepts, builder_lib.STANDARD, "prepare(concepts=...)", error=DataError
        )
    standard = builder_lib.STANDARD[concepts]
    given = {"train": train, "val": val, "test": test}
    counts = {split: getattr(standard, split) if n is None else n for split, n in given.items()}
    for name, value, least in [
        *((split, n, 1) for split, n in counts.items()),
        ("canvas", canvas, 32),
    ]:
        if not isinstance(value, int) or value < least:
            raise DataError(
                f"{name}={value!r}", where="prepare", expected=f"a whole number of at least {least}"
            )
    return Recipe(concepts=concepts, seed=seed, canvas=canvas, **counts)


def _check_space(root: Path, recipe: Recipe) -> None:
    try:
        root.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(
            f"Cannot make the cache folder: {error}",
            where=str(root),
            expected="a folder one may write to",
            fix="set ZV_CACHE or data_dir to another folder",
        ) from error
    rows = sum(recipe.counts().values())
    # Twice: the rows are kept in a temporary file until their shard is written.
    need = 2 * rows * (_ROW_TEXT_BYTES + _PIXEL_BYTES * recipe.canvas**2)
    have = shutil.disk_usage(root).free
    if have < need:
        raise DataError(
            f"Not enough disk space for {rows} scenes: "
            f"need {need / 2**20:.0f} MiB, have {have / 2**20:.0f} MiB",
            where=str(root),
            expected=f"{need / 2**20:.0f} MiB free",
            fix="free some space, set ZV_CACHE or data_dir to another disk, or ask for fewer",
        )


@contextlib.contextmanager
def _workplace(root: Path) -> Iterator[Path]:
    """A folder on the same disk as ``root`` that is gone afterwards, whatever happens."""
    prefix = f"{_INCOMPLETE}{socket.gethostname()}-"
    for left in root.glob(f"{prefix}*"):
        # A killed process could not clean up; its number in the name tells whether it still runs.
        pid = left.name.removeprefix(prefix).split("-")[0]
        if pid.isdigit() and not _runs(int(pid)):
            shutil.rmtree(left, ignore_errors=True)
    try:
        work = Path(tempfile.mkdtemp(prefix=f"{prefix}{os.getpid()}-", dir=root))
    except OSError as error:
        raise DataError(
            f"Cannot write to the cache folder: {error}",
            where=str(root),
            fix="set ZV_CACHE or data_dir to a folder you may write to",
        ) from error
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _build(work: Path, recipe: Recipe, progress: bool) -> Path:
    """Builds into ``work`` and returns the folder with the shards."""
    bar = progress_bar(
        total=sum(recipe.counts().values()),
        desc="OpenMoji scenes",
        unit="scene",
        disable=not progress,
    )
    # TFDS shows a bar per shard and step and warns of every config of one's own; ours is one bar.
    tfds.disable_progress_bar()
    verbosity = absl_logging.get_verbosity()
    absl_logging.set_verbosity(absl_logging.ERROR)
    try:
        with bar, contextlib.redirect_stdout(io.StringIO()):
            builder = builder_lib.ZvOpenmoji(
                data_dir=os.fspath(work), config=builder_lib.config_of(recipe), on_row=bar.update
            )
            builder.download_and_prepare()
    except OSError as error:
        raise DataError(
            f"Writing the scenes failed: {error}", where=str(work), fix="check the disk"
        ) from error
    finally:
        absl_logging.set_verbosity(verbosity)
        tfds.enable_progress_bar()
    return Path(builder.data_dir)


def _move(built: Path, final: Path, aside: Path, recipe: Recipe) -> None:
    """Puts ``built`` at ``final`` by renaming; what was there goes to ``aside``."""
    final.parent.mkdir(parents=True, exist_ok=True)
    # Another process may have finished the same data in the meantime; then ours is not needed.
    if manifest.problem(final, recipe) is None:
        return
    if final.exists():
        os.rename(final, aside)
    try:
        os.rename(built, final)
    except OSError:
        if manifest.problem(final, recipe) is not None:
            raise
