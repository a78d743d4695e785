"""Nested dictionaries of leaves as flat ones, `{"llm/layers/attn/q/kernel": leaf}`, and back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def flatten(tree: Mapping[str, Any]) -> dict[str, Any]:
    """The leaves of a tree by their paths, in its order; dictionaries without leaves vanish."""
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping):
            found |= {f"{key}/{path}": leaf for path, leaf in flatten(value).items()}
        else:
            found[str(key)] = value
    return found


def unflatten(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """The tree whose leaves `flatten` gives.

    Raises:
        ValueError: one path goes on where another ends.
    """
    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        place = tree
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise ValueError(f"{path!r} lies below a leaf")
        if name in place:
            raise ValueError(f"{path!r} is a leaf and the parent of one, or is there twice")
        place[name] = leaf
    return tree
