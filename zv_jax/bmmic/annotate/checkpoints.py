"""Checkpoints of transformers: where they are, which revision that is, how they are opened."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zv_jax.bmmic.config import Model
from zv_jax.errors import ConfigError, hub_fix

_WEIGHTS = ("*.safetensors", "*.bin")


@dataclass(frozen=True)
class Opened:
    """A model in evaluation mode on its device, with its processor.

    Attributes:
      about: facts for every record.
    """

    model: Any
    processor: Any
    device: str
    about: dict[str, Any]


def open_model(model: Model, where: str, kind: type, processor: type, device: str) -> Opened:
    """Opens a folder, or a name that is in the local cache of the hub; nothing is downloaded.

    Args:
      where: the section of the recipe. kind, processor: classes of transformers.
      device: as PyTorch names it.

    Raises:
      ConfigError: there is no such checkpoint, or it is another kind of model.
    """
    try:
        folder, revision = _resolve(model)
        opened, loaded = kind.from_pretrained(folder, output_loading_info=True)
        if loaded["missing_keys"]:  # transformers would fill them with random numbers
            raise ValueError(f"it has no {min(loaded['missing_keys'])}")
        opened, words = opened.eval().to(device), processor.from_pretrained(folder)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ConfigError(
            f"no {kind.__name__}: {error}"[:400],
            where=f"{where}.model: {model.model!r}",
            expected=f"a folder with a checkpoint that {kind.__name__} of transformers opens",
            fix=hub_fix(model.model, f"set {where}.model"),
        ) from None
    about = {"kind": model.kind, "model": model.model, "revision": revision}
    return Opened(opened, words, device, about | {"threshold": model.threshold})


def _resolve(model: Model) -> tuple[str, str]:
    """The folder of a checkpoint, and its commit, or the sum of its weights where it has none."""
    folder = Path(model.model)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        revision = model.revision or None
        found = snapshot_download(model.model, revision=revision, local_files_only=True)
        return found, Path(found).name
    digest = hashlib.sha256()
    for pattern in _WEIGHTS:
        for file in sorted(folder.glob(pattern)):
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    revision = f"sha256:{digest.hexdigest()}"
    if model.revision not in ("", revision):
        raise ValueError(f"its revision is {revision}, not {model.revision}")
    return str(folder), revision
