"""Splits the rows of a batch into parts that are computed one after the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
from jaxtyping import Shaped

from zv_jax.arrays import Array
from zv_jax.models.layers import constrain
from zv_jax.models.pieces import one_by_one
from zv_jax.models.ziya_visual import ZiyaVisual


def split_rows(x: Shaped[Array, " B *N"], parts: int) -> Shaped[Array, "{parts} B//{parts} *N"]:
    """Deals the rows out to the parts in turn.

    This way every device keeps its rows; consecutive blocks would move most of them.
    """
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:])
    return constrain(x.swapaxes(0, 1), None, "batch", *[None] * (x.ndim - 2))


def join_rows(x: Shaped[Array, "parts rows *N"]) -> Shaped[Array, " parts*rows *N"]:
    """Undoes `split_rows`."""
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])


def in_parts(
    function: Callable[[ZiyaVisual, Any], tuple[Any, Any]],
    model: ZiyaVisual,
    parts: int,
    rows: Any,
) -> tuple[Any, Any]:
    """Applies `function(model, rows) -> (rows, sums)` to `parts` pieces, one after the other.

    `rows` are trees of arrays whose first axis counts rows, `sums` trees of sums over rows.
    """
    if parts == 1:
        return function(model, rows)

    pieces = jax.tree.map(lambda x: split_rows(x, parts), rows)
    out, sums = one_by_one(function, model, pieces, dropout=True)
    return jax.tree.map(join_rows, out), jax.tree.map(lambda x: x.sum(0), sums)
