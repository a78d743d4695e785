"""Applies a function of a module to pieces of its input, one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.linen as nn


def one_by_one(
    function: Callable[[Any, Any], Any], module: nn.Module, pieces: Any, dropout: bool = False
) -> Any:
    """`function(module, piece)` for each piece, its outputs stacked.

    For the gradient only the inputs and outputs of a piece are saved; the rest is recomputed.
    `function` cannot create parameters.

    Args:
        module: bound.
        pieces: a tree of arrays whose first axis counts the pieces.
        dropout: whether the module draws dropout; each piece then has its own noise.
    """

    def body(module: nn.Module, carry: None, piece: Any) -> tuple[None, Any]:
        return carry, function(module, piece)

    scanned = nn.scan(
        nn.remat(body, prevent_cse=False),
        variable_broadcast=("params", "lora"),
        split_rngs={"params": False, "dropout": dropout},
    )
    return scanned(module, None, pieces)[1]
