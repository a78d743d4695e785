"""Tables of trained and frozen parameters, for people and for the report."""

from __future__ import annotations

import jax
from clu.parameter_overview import count_parameters, get_parameter_overview


def stage_table(flat: dict[str, jax.Array], trainable: set[str]) -> list[dict]:
    """Numbers of parameters per tower: trainable, frozen, and of trained adapters."""
    towers: dict[str, dict[str, dict]] = {}
    for path, leaf in flat.items():
        collection, tower = path.split("/")[:2]
        kinds = towers.setdefault(tower, {"trainable": {}, "frozen": {}, "adapter": {}})
        trained = "adapter" if collection == "lora" else "trainable"
        kinds[trained if path in trainable else "frozen"][path] = leaf
    return [
        {"tower": tower, **{kind: int(count_parameters(part)) for kind, part in kinds.items()}}
        for tower, kinds in sorted(towers.items())
    ]


def overview(flat: dict[str, jax.Array], trainable: set[str]) -> str:
    """Name, shape, dtype, size and sharding of every leaf: trainable ones, then frozen ones."""
    parts = {"train": {}, "are frozen": {}}
    for path, leaf in flat.items():
        parts["train" if path in trainable else "are frozen"][path] = leaf
    return "\n\n".join(
        f"These parameters {what}:\n{get_parameter_overview(part, include_stats='sharding')}"
        for what, part in parts.items()
    )
