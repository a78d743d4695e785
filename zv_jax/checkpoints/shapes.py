"""The shapes that a use of a model needs, remembered in the user's cache.

Shapes are found by tracing the model, which takes longer than to read a small checkpoint. They
depend on the architecture and on the code of the model alone, so a process that has traced them
writes them down for the next one. A file that is missing or damaged is made anew.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from zv_jax import models, trees
from zv_jax.files import write_atomic
from zv_jax.models import parameters
from zv_jax.models.axes import boxed, names_of, unboxed
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.parallel.runtime import cache_dir


@functools.lru_cache(maxsize=16)
def abstract(model: ZiyaVisual, use: parameters.Use, *given: jax.ShapeDtypeStruct) -> dict:
    """`parameters.abstract`, traced once for each architecture and version of the model's code."""
    about = repr((model, use.__name__, given, _code()))
    path = cache_dir() / "shapes" / f"{hashlib.sha256(about.encode()).hexdigest()}.json"
    found = _read(path)
    if found is None:
        found = parameters.abstract(model, use, *given)
        _write(path, found)
    return found


@functools.cache
def _code() -> str:
    """What the shapes of an architecture depend on: our models and the versions below them."""
    digest = hashlib.sha256(f"{version('jax')} {version('flax')}".encode())
    for path in sorted(Path(models.__path__[0]).glob("*.py")):
        digest.update(path.name.encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _write(path: Path, tree: dict) -> None:
    names = {name: names_of(leaf) for name, leaf in trees.flatten(tree).items()}
    rows = {
        name: (leaf.shape, leaf.dtype.name, names[name])
        for name, leaf in trees.flatten(unboxed(tree)).items()
    }
    with contextlib.suppress(OSError):  # a cache that cannot be written only costs time
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, json.dumps(rows).encode())


def _read(path: Path) -> dict | None:
    try:
        rows = json.loads(path.read_bytes())
        return trees.unflatten({name: _leaf(*row) for name, row in rows.items()}) or None
    except (OSError, ValueError, TypeError, AttributeError, RecursionError):
        return None


def _leaf(shape: list[int], dtype: str, names: list[str | None] | None) -> Any:
    leaf = jax.ShapeDtypeStruct(tuple(shape), jnp.dtype(dtype))
    return leaf if names is None else boxed(leaf, names)
