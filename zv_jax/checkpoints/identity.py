"""Which checkpoint a path means, and whether it is still the same one."""

from __future__ import annotations

import hashlib
from pathlib import Path

from zv_jax.checkpoints.reader import find_steps, located
from zv_jax.errors import CheckpointError

_OF_A_STEP = ("_CHECKPOINT_METADATA", "meta/metadata", "state/manifest.ocdbt")


def pinned(path: str | Path) -> str | Path:
    """The latest step of a workdir by its own path, so that a run which is continued later does
    not meet a newer one; anything else as it is."""
    try:
        return find_steps(path)[0]
    except CheckpointError:
        return path  # of another layout, or nothing: loading it says what is wrong


def identity(checkpoint: str | Path) -> str:
    """What tells a checkpoint from one that is saved in its place later, as 16 hex digits.

    Of one step of ours these are its times and the list of its files, which copies share; of
    anything else the names, sizes and times of the files that lie there; "" where there are none.
    """
    path = Path(checkpoint)
    ours = [located(checkpoint) / name for name in _OF_A_STEP]
    digest = hashlib.sha256()
    if all(file.is_file() for file in ours):
        for file in ours:
            digest.update(file.read_bytes())
        return digest.hexdigest()[:16]
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    stats = [(file.name, file.stat()) for file in files if file.is_file()]
    for name, stat in stats:
        digest.update(f"{name} {stat.st_size} {stat.st_mtime_ns}\n".encode())
    return digest.hexdigest()[:16] if stats else ""
