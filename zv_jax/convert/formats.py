"""A model in any of the forms this project reads, found out from what lies at the path."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from zv_jax import casts
from zv_jax.checkpoints import arrays as leaves
from zv_jax.config import Config
from zv_jax.convert import architectures, gguf, hf, lavis, own_checkpoint, reader
from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.convert.sources import Spec
from zv_jax.data.text.tokenizers import Tokenizer


def open_any(path: str | Path) -> OwnCheckpoint:
    """The model at `path`: a checkpoint of ours (workdir, `checkpoints` or one step), a directory
    in the layout of transformers, a GGUF file, or a checkpoint file of LAVIS.

    Raises:
        CheckpointError, ConversionError, DataError: there is none, or it is damaged.
        SetupError: reading it needs a package that is not installed.
    """
    if architectures.is_theirs(path):
        return _theirs(hf.open_hf(path), path)
    if Path(path).suffix == gguf.SUFFIX:
        return _theirs(gguf.open_gguf(path), path)
    if Path(path).suffix in lavis.SUFFIXES:
        return _theirs(lavis.open_lavis(path), path)
    return own_checkpoint.open_checkpoint(path)


def _theirs(opened: reader.ForeignCheckpoint, path: str | Path) -> OwnCheckpoint:
    def read(wanted: Mapping[str, Spec]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, spec in wanted.items():
            value = casts.cast(opened.leaves[name].value(), spec.dtype, name, str(path))
            out[name] = value if spec.sharding is None else jax.device_put(value, spec.sharding)
        return out

    return OwnCheckpoint(
        config=opened.config,
        specs={p: Spec(leaf.shape, leaf.dtype) for p, leaf in opened.leaves.items()},
        read=read,
        tokenizers=opened.tokenizers,
        provenance=reader.provenance(opened, path),
        where=str(path),
    )


def in_memory(
    config: Config,
    flat: Mapping[str, Any],
    tokenizers: tuple[Tokenizer | None, Tokenizer | None],
    provenance: Mapping[str, Any],
) -> OwnCheckpoint:
    """A loaded model: its leaves by their paths, stacked as in a checkpoint."""
    return OwnCheckpoint(
        config=config,
        specs={path: leaves.spec(leaf) for path, leaf in flat.items()},
        read=lambda wanted: {
            # A copy: what is read may be changed.
            p: casts.cast(np.array(flat[p]), s.dtype, p, "the model in memory")
            for p, s in wanted.items()
        },
        tokenizers=tokenizers,
        provenance=provenance,
        where="the model in memory",
    )
