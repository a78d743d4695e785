"""A model as a new workdir of ours: one checkpoint, its tokenizers and its configuration."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from zv_jax import casts
from zv_jax.config import Config
from zv_jax.config.build import to_dict
from zv_jax.convert import stream
from zv_jax.convert.own_checkpoint import TOKENIZERS, OwnCheckpoint
from zv_jax.convert.stream import Leaf
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.files import write_json


def stored(model: OwnCheckpoint) -> dict[str, Leaf]:
    """Every leaf of `model`, each read when it is written."""

    def leaf(path: str) -> Leaf:
        spec = model.specs[path]
        read = lambda: casts.finite(np.asarray(model.read({path: spec})[path]), path, model.where)
        return Leaf(tuple(spec.shape), np.dtype(spec.dtype), (read,))

    return {path: leaf(path) for path in model.specs}


def write(
    folder: Path,
    config: Config,
    found: Mapping[str, Leaf],
    both: tuple[Tokenizer | None, Tokenizer | None],
    provenance: Mapping[str, Any],
) -> None:
    """Writes the workdir; use `stream.building` for a folder that appears only when complete.

    Args:
        config: of a run with this model.
        found: leaves by path.
        both: tokenizers of the language model and of the Q-Former, None where there is none.
        provenance: JSON types: where the weights came from.

    Raises:
        ConversionError: a tensor is not finite.
        CheckpointError: the disk is full or read-only.
    """
    meta = {
        "config": to_dict(config),
        "tokenizers": [t and t.fingerprint for t in both],
        "provenance": dict(provenance),
    }
    stream.write_checkpoint(folder, found, meta)
    for tokenizer, name in zip(both, TOKENIZERS, strict=True):
        if tokenizer is not None:
            tokenizer.save(folder / name)
    write_json(folder / "config.json", to_dict(config))
