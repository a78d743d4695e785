"""A model of ours as a source of leaves: a checkpoint on disk, or one in memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zv_jax import casts
from zv_jax.buckets import local
from zv_jax.checkpoints import reader as checkpoint
from zv_jax.config import Config
from zv_jax.config.build import of_checkpoint, validate
from zv_jax.convert.sources import Spec
from zv_jax.data.text import tokenizers
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import CheckpointError, ConfigError
from zv_jax.models.presets import LoraConfig
from zv_jax.stages import stage_model

TOKENIZERS = ("tokenizer", "qformer_tokenizer")  # their folders in a workdir


@dataclass(frozen=True)
class OwnCheckpoint:
    """What an export needs.

    Attributes:
        config: of the run, its model the one that the stage builds.
        specs: shape and dtype of every leaf by path ("params/...", "lora/...").
        read: values of the leaves wanted, as `training.leaves.read` gives them: in the dtype
            wanted, placed where a sharding is given, else as numpy arrays that may be changed.
        tokenizers: of the language model and of the Q-Former, None where there is none.
        provenance: JSON types: `converted_from` and `coverage` of converted weights; `step` and
            `sources` of trained ones.
        where: for messages.
    """

    config: Config
    specs: Mapping[str, Spec]
    read: Callable[[Mapping[str, Spec]], dict[str, Any]]
    tokenizers: tuple[Tokenizer | None, Tokenizer | None]
    provenance: Mapping[str, Any]
    where: str

    @property
    def converted(self) -> bool:
        """Whether the weights are others'; then some leaves may be missing."""
        return "converted_from" in self.provenance

    @property
    def adapters(self) -> dict[str, tuple[str, str]]:
        """Paths of an adapter's two leaves (A, B) by the path of the kernel it belongs to."""
        found = {}
        for path in self.specs:
            if path.startswith("lora/") and path.endswith("lora_a"):
                stem = path.removesuffix("lora_a")
                kernel = f"params/{stem.removeprefix('lora/')}kernel"
                found[kernel] = (path, f"{stem}lora_b")
        return found


def open_checkpoint(path: str | Path) -> OwnCheckpoint:
    """The latest checkpoint at `path`: a workdir, its `checkpoints` directory or one step's.

    Raises:
        CheckpointError: there is none, or its tokenizers are missing or others.
    """
    specs, meta = checkpoint.describe(path)
    meta = checkpoint.of_run(meta, path)
    try:
        config = built(validate(of_checkpoint(meta.get("config", {}))))
    except ConfigError as error:
        raise CheckpointError(
            f"the checkpoint's configuration: {error.what}",
            where=f"{path} ({error.where})",
            expected=error.expected,
            fix="update zv_jax, or copy the checkpoint again from where it came from",
        ) from None

    def read(wanted: Mapping[str, Spec]) -> dict[str, Any]:
        # Naming the step keeps to the checkpoint just described.
        return checkpoint.load_params(path, meta["step"], wanted)[0]

    return OwnCheckpoint(
        config=config,
        specs=specs,
        read=read,
        tokenizers=find_tokenizers(path, meta),
        provenance={"step": meta["step"], **(meta.get("provenance") or {})},
        where=str(path),
    )


def built(config: Config) -> Config:
    """`config` with the model that its stage builds: Base or Chat, adapters only where they are."""
    return replace(config, model=stage_model(config))


def find_tokenizers(
    path: str | Path, meta: Mapping[str, Any]
) -> tuple[Tokenizer | None, Tokenizer | None]:
    """The tokenizers beside a checkpoint, checked against the fingerprints in its meta.

    Raises:
        CheckpointError: they are missing, or are not those the model was trained with.
    """
    (step,) = checkpoint.find_steps(path, meta["step"])
    if len(meta.get("tokenizers", ())) != len(TOKENIZERS):
        raise CheckpointError(
            "the checkpoint does not say which tokenizers it was trained with",
            where=str(step),
            expected="two fingerprints in its meta",
            fix="copy the checkpoint again from where it came from",
        )
    found: list[Tokenizer | None] = []
    for name, fingerprint in zip(TOKENIZERS, meta["tokenizers"], strict=True):
        if fingerprint is None:
            found.append(None)
            continue
        folders = [f / name for f in (step, *step.parents[:2]) if (f / name).is_dir()]
        if not folders:
            raise CheckpointError(
                "the tokenizers of this checkpoint are missing",
                where=str(step.parents[1]),
                expected="the folders tokenizer and qformer_tokenizer, which training saves there",
                fix="copy them from the workdir of the run",
            )
        with local(folders[0]) as here:
            found.append(tokenizers.load(here))
        if found[-1].fingerprint != fingerprint:
            raise CheckpointError(
                "the tokenizers are not those the model was trained with",
                where=str(folders[0].parent),
                expected="the folders tokenizer and qformer_tokenizer of the run itself",
                fix="copy them from the workdir of the run",
            )
    return found[0], found[1]


def merged(
    kernel: np.ndarray, a: np.ndarray, b: np.ndarray, lora: LoraConfig, path: str = "kernel"
) -> np.ndarray:
    """One layer of a kernel with its adapter added: W + alpha / rank * A B.

    Computed in float32 and rounded once to the dtype of the kernel. Source: Hu et al. 2021; PEFT's
    `merge_and_unload` gives the same.

    Args:
        kernel: [in, out]; a: [in, R]; b: [R, out].
        path: of the kernel, for messages.

    Raises:
        ConversionError: the sum is beyond the dtype of the kernel.
    """
    update = a.astype(np.float32) @ b.astype(np.float32)
    scale = np.float32(lora.alpha / lora.rank)
    whole = kernel.astype(np.float32) + scale * update
    return casts.cast(whole, kernel.dtype, path, "--merge-lora")
