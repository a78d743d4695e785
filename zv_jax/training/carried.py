"""What a later stage carries along: the heads of stage 0, so that its model can still compare.

The paper reports retrieval of the final models (Table 6). Their heads are those of stage 0, which
no later stage trains; nor does the text half of the Q-Former train in Base, whose later stages do
not even hold it. These leaves are in no step and on no device: they go from checkpoint to
checkpoint beside the frozen ones, in the dtype that they were trained in.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from zv_jax.checkpoints import contents
from zv_jax.checkpoints import manager as checkpoint
from zv_jax.config import Config
from zv_jax.training.init_from import WORD_TABLES


class Carried(NamedTuple):
    """Host leaves by path, which source they are from, and what people should know."""

    leaves: Mapping[str, np.ndarray]
    source: str = ""
    lines: Sequence[str] = ()


def carried(config: Config, tokenizers: Sequence[str]) -> Carried:
    """The leaves to carry along, of the last source of `config.init_from` that has them all.

    Args:
        tokenizers: fingerprints of the tokenizers of LLM and Q-Former.

    Returns:
        No leaves where no source has heads, or where they would compare other words than they
        learned; a line then says why.

    Raises:
        CheckpointError: a source cannot be read.
    """
    wanted = contents.beside(config)
    if not wanted:
        return Carried({})
    lines: list[str] = []
    for source in reversed(config.init_from):
        stored, meta = checkpoint.describe(source)
        if not stored.keys() >= wanted.keys():
            continue
        reason = _unfit(wanted, stored, meta, tokenizers)
        if reason:
            lines.append(f"WARNING: the heads of {source} are left behind: {reason}")
            continue
        specs = {path: stored[path] for path in wanted}
        found = checkpoint.load_params(source, meta["step"], specs)[0]
        there = meta.get("config", {}).get("data", {}).get("max_text", config.data.max_text)
        if there != config.data.max_text:
            lines.append(
                f"WARNING: the heads of {source} learned texts of up to {there} ids. To compare "
                f"such texts here too: --config.data.max_text={there}"
            )
        size = sum(leaf.size for leaf in found.values())
        lines.append(f"kept for retrieval, in no step: {size:,} parameters from {source}")
        return Carried(found, str(source), lines)
    return Carried({}, "", lines)


def _unfit(
    wanted: Mapping[str, Any],
    stored: Mapping[str, Any],
    meta: Mapping[str, Any],
    tokenizers: Sequence[str],
) -> str:
    """Why these leaves cannot serve this model; empty where they can."""
    for path, leaf in wanted.items():
        if tuple(stored[path].shape) != tuple(leaf.shape):
            there, here = tuple(stored[path].shape), tuple(leaf.shape)
            return f"{path!r} has shape {there} there, {here} in this model"
    field, theirs = WORD_TABLES[1][1], meta.get("tokenizers") or (None, None)
    if theirs[1] != tokenizers[1]:
        return f"they learned the words of another tokenizer; set --config.data.{field}.path"
    return ""
