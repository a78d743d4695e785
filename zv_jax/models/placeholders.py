"""Each visual token needs its placeholder; counted on the host, where a wrong row can be named."""

from __future__ import annotations

import jax
import numpy as np

from zv_jax.errors import DataError
from zv_jax.models.presets import ModelConfig

Array = np.ndarray | jax.Array


def check_placeholders(images: Array | None, input_ids: Array, cfg: ModelConfig) -> None:
    """Refuses a row whose placeholders are not those of its images.

    A row with fewer images than others has zeros in their place, after its own. Traced arrays have
    no values and are not looked at: inside of a compiled program this costs nothing.

    Args:
        images: [B, I, H, W, 3]; None when no row has an image.
        input_ids: int [B, T].
        cfg: the architecture.

    Raises:
        DataError: naming the row, what it has and what was expected.
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


def _images_in(images: Array, row: int) -> int:
    """Images of `row`, up to its last one that is not all zeros; 0 where they are traced."""
    if isinstance(images, jax.core.Tracer):
        return 0
    there = np.asarray(images[row]).any((1, 2, 3))
    return int(np.flatnonzero(there)[-1]) + 1 if there.any() else 0
