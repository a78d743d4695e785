"""`Inputs`: the five arrays that the model reads, and checks of them that name what is wrong."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from zv_jax.arrays import Array
from zv_jax.errors import DataError
from zv_jax.models.placeholders import RowImages, check_placeholders
from zv_jax.models.presets import ModelConfig


class Inputs(NamedTuple):
    """Rows of images and ids, a pytree; `Model.processor` makes them from texts and images.

    Attributes:
        images: resized bytes, or floats normalised already; None when no row has an image. Rows
            with fewer images end in zeros.
        input_ids: each image as `num_queries` placeholders; padded on the left for decoding.
        attention_mask: False at padding.
        qformer_input_ids: `[CLS] instruction [SEP]`; Chat needs it with images.
        qformer_attention_mask: False at its padding.
    """

    images: RowImages | None
    input_ids: Int[Array, "B T"]
    attention_mask: Bool[Array, "B T"]
    qformer_input_ids: Int[Array, "B S"] | None = None
    qformer_attention_mask: Bool[Array, "B S"] | None = None


def check_inputs(inputs: Inputs, cfg: ModelConfig) -> None:
    """Refuses what the model cannot read.

    Raises:
        DataError: names the array, its shape or row, and what was expected.
    """
    images, input_ids, attention_mask, qformer_input_ids, qformer_attention_mask = inputs
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
                    fix="give `[CLS] instruction [SEP]` of each row, or use Model.processor",
                )
            _, size = _shape("qformer_input_ids", qformer_input_ids, "[B, S]", 2)
            _same("qformer_input_ids", qformer_input_ids, (rows, size), "input_ids")
            _same("qformer_attention_mask", qformer_attention_mask, (rows, size), "its ids")
    check_placeholders(images, input_ids, cfg)


def _shape(name: str, array: Array, letters: str, axes: int) -> tuple[int, ...]:
    if np.ndim(array) != axes:
        raise DataError(
            f"{name} has the shape {np.shape(array)}",
            where=name,
            expected=f"{axes} axes: {letters}",
            fix="add or remove an axis",
        )
    return np.shape(array)


def _same(name: str, array: Array, expected: tuple[int, ...], reference: str) -> None:
    if np.shape(array) != expected:
        raise DataError(
            f"{name} has the shape {np.shape(array)}",
            where=name,
            expected=f"{expected}, as {reference}",
            fix="give both for the same rows",
        )
