"""Arrays that a user made: what does not fit the model or each other is refused by name."""

from __future__ import annotations

import numpy as np

from zv_jax.errors import DataError
from zv_jax.models.placeholders import check_placeholders
from zv_jax.models.presets import ModelConfig


def check_arrays(
    images: np.ndarray | None,
    input_ids: np.ndarray,
    attention_mask: np.ndarray,
    qformer_input_ids: np.ndarray | None,
    qformer_attention_mask: np.ndarray | None,
    cfg: ModelConfig,
) -> None:
    """Refuses what `Words.generate` cannot use; the arguments are described there.

    Raises:
        DataError: naming the array, its shape or row, and what was expected.
    """
    rows, length = _shape("input_ids", input_ids, "[B, T]", 2)
    _same("attention_mask", attention_mask, (rows, length), "input_ids")
    if images is not None:
        shape = _shape("images", images, "[B, I, H, W, 3]", 5)
        _same("images", images, (rows, *shape[1:4], 3), "input_ids")
        if cfg.qformer_sees_instruction:
            if qformer_input_ids is None or qformer_attention_mask is None:
                raise DataError(
                    "the Q-Former of this model reads an instruction, and none is given",
                    where="qformer_input_ids, qformer_attention_mask",
                    expected="int [B, S] and bool [B, S] beside images",
                    fix="give `[CLS] instruction [SEP]` of each row, or use Model.answer",
                )
            _, size = _shape("qformer_input_ids", qformer_input_ids, "[B, S]", 2)
            _same("qformer_input_ids", qformer_input_ids, (rows, size), "input_ids")
            _same("qformer_attention_mask", qformer_attention_mask, (rows, size), "its ids")
    check_placeholders(images, input_ids, cfg)


def _shape(name: str, array: np.ndarray, letters: str, axes: int) -> tuple[int, ...]:
    if np.ndim(array) != axes:
        raise DataError(
            f"{name} has the shape {np.shape(array)}",
            where=name,
            expected=f"{axes} axes: {letters}",
            fix="add or remove an axis",
        )
    return np.shape(array)


def _same(name: str, array: np.ndarray, wanted: tuple[int, ...], other: str) -> None:
    if np.shape(array) != wanted:
        raise DataError(
            f"{name} has the shape {np.shape(array)}",
            where=name,
            expected=f"{wanted}, as {other}",
            fix="give both for the same rows",
        )
