"""Checks on the host, where an error can name the row, that each visual token has a placeholder."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float, Int, UInt8

from zv_jax.arrays import Array
from zv_jax.errors import DataError
from zv_jax.models.presets import ModelConfig

RowImages = UInt8[Array, "B I height width 3"] | Float[Array, "B I height width 3"]


def check_placeholders(
    images: RowImages | None, input_ids: Int[Array, "B T"], cfg: ModelConfig
) -> None:
    """Refuses a row whose placeholders do not match its images.

    A row with fewer images than others ends in zeros. Traced arrays have no values and are not
    checked: in a compiled program this costs nothing.

    Args:
        images: None when no row has an image.
        input_ids: with `num_queries` placeholders for each image.
        cfg: the architecture.

    Raises:
        DataError: names the row, its count and the expected one.
    """
    if isinstance(input_ids, jax.core.Tracer):
        return
    queries, most = cfg.qformer.num_queries, 0 if images is None else images.shape[1]
    found = (np.asarray(input_ids) == cfg.image_token_id).sum(1)
    for row in np.flatnonzero(found != most * queries):
        least = most and _images_in(images, row)
        if found[row] % queries == 0 and least * queries <= found[row] <= most * queries:
            continue
        tokens = f"{least * queries} visual tokens"
        raise DataError(
            f"row {row} has {found[row]} placeholders for {tokens}",
            where=f"input_ids, row {row}",
            expected=f"{least * queries} ids {cfg.image_token_id} (image_token_id): {queries} for "
            f"each of {least} images",
            fix="give every image of the row as many placeholders as the Q-Former has queries "
            f"({queries}), and no others",
        )


def _images_in(images: RowImages, row: int | np.integer) -> int:
    """Images of `row`, up to the last that is not all zeros; 0 for traced images."""
    if isinstance(images, jax.core.Tracer):
        return 0
    there = np.asarray(images[row]).any((1, 2, 3))
    return int(np.flatnonzero(there)[-1]) + 1 if there.any() else 0
