"""Weights published as a difference to LLaMA (Ziya-LLaMA does so)."""

from __future__ import annotations

import re

import numpy as np

from zv_jax.convert import casts
from zv_jax.convert.sources import Source
from zv_jax.errors import ConversionError

# Embeddings and output layer are stored whole: the vocabularies differ.
_DIFFERENCES = r"(language_model\.)?model\.(layers\.(?!.*inv_freq).*|norm\.weight)"
_LARGEST_NORM_CHANGE = 0.1


class Sum:
    """`difference` + `base`, tensor by tensor, in the dtype of the difference.

    float32 holds the sum of two half-precision numbers so exactly that rounding it once gives what
    the half-precision sum itself is.
    """

    def __init__(self, difference: Source, base: Source):
        """Raises:
        ConversionError: `base` lacks a tensor or has another shape, or `difference` is a whole
            model already.
        """
        self.where, self.specs = difference.where, difference.specs
        self._difference, self._base = difference, base
        known = {_bare(name): name for name in base.specs}
        self._pairs: dict[str, str] = {}
        for name, spec in difference.specs.items():
            if not re.fullmatch(_DIFFERENCES, name):
                continue
            other = known.get(_bare(name))
            if other is None or base.specs[other].shape != spec.shape:
                found = "no such tensor" if other is None else f"shape {base.specs[other].shape}"
                raise ConversionError(
                    f"the base has {found} for {name!r}",
                    where=base.where,
                    expected=f"shape {spec.shape}, as in the difference",
                    fix="give the LLaMA of the same size that the difference was made to",
                )
            self._pairs[name] = other
        norm = next((name for name in self._pairs if name.endswith("model.norm.weight")), None)
        if norm is not None and not is_difference(difference, norm):
            raise ConversionError(
                "these weights are a whole model, not a difference",
                where=difference.where,
                expected="weights that were published as a difference",
                fix="leave --base out",
            )

    def read(self, name: str) -> np.ndarray:
        value = self._difference.read(name)
        if name not in self._pairs:
            return value
        base = self._base.read(self._pairs[name])
        whole = value.astype(np.float32) + base.astype(np.float32)
        return casts.cast(whole, value.dtype, name, self.where)


def _bare(name: str) -> str:
    return name.removeprefix("language_model.")


def is_difference(source: Source, norm: str) -> bool:
    """Whether the scales of the last norm, near 1 or above in a model, are near zero."""
    return float(np.abs(source.read(norm).astype(np.float32)).mean()) < _LARGEST_NORM_CHANGE
