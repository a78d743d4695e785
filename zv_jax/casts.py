"""Tensors in another dtype: what it cannot hold is refused, and what it rounds to 0 is counted.

float16 ends at 65,504 and has nothing between 0 and 6e-8; weights of either kind are found in
models that were trained in bfloat16 or float32.
"""

from __future__ import annotations

import logging
from collections import Counter

import ml_dtypes  # noqa: F401  makes bfloat16 a dtype that numpy knows
import numpy as np
from numpy.typing import DTypeLike

from zv_jax.errors import ConversionError, ZvError

log = logging.getLogger(__name__)


def cast(
    value: np.ndarray,
    dtype: DTypeLike,
    name: str,
    where: str,
    zeroed: Counter[str] | None = None,
    error: type[ZvError] = ConversionError,
) -> np.ndarray:
    """`value` in `dtype`; `zeroed[name]` grows by the number of values that become 0.

    Raises:
        ConversionError: a value becomes infinite; or what `error` says. Infinite ones of `value`
            itself stay: see `finite`.
    """
    dtype = np.dtype(dtype)
    if np.can_cast(value.dtype, dtype):
        return value.astype(dtype, copy=False)
    with np.errstate(over="ignore"):
        out = value.astype(dtype)
    if not all_finite(out):
        lost = np.isfinite(value) & ~np.isfinite(out)
        if lost.any():
            raise error(
                f"the value {float(value[lost][0]):g} of {name!r} becomes infinite in {dtype.name} "
                f"({int(lost.sum())} of {value.size} do)",
                where=where,
                expected=f"numbers of at most {float(ml_dtypes.finfo(dtype).max):g}",
                fix="--dtype=bfloat16 has the range of float32",
            )
    if zeroed is not None and (count := np.count_nonzero(value) - np.count_nonzero(out)):
        zeroed[name] += int(count)
    return out


def finite(value: np.ndarray, name: str, where: str) -> np.ndarray:
    """`value` itself.

    Raises:
        ConversionError: it has a NaN or an infinite element.
    """
    if not all_finite(value):
        raise ConversionError(
            f"tensor {name!r} has values that are not finite numbers",
            where=where,
            expected="finite numbers in every tensor",
            fix="download it again; if it was trained so, take an earlier checkpoint",
        )
    return value


def all_finite(value: np.ndarray) -> bool:
    """Whether no element is infinite or NaN; half precisions are judged by their bits, which is
    several times faster than numpy's own test of them."""
    exponent = {"bfloat16": 0x7F80, "float16": 0x7C00}.get(value.dtype.name)
    if exponent is None:
        return bool(np.isfinite(value).all())
    bits = np.ascontiguousarray(value).view(np.uint16)
    return not bool(((bits & exponent) == exponent).any())


def say(zeroed: Counter[str], where: str) -> None:
    """Warns of values that became 0, if any did."""
    if zeroed:
        name, most = zeroed.most_common(1)[0]
        log.warning(
            "%s: %d values were too small for the dtype and are 0 now, in %d tensors, %d of them "
            "in %r; --dtype=bfloat16 keeps them",
            where,
            zeroed.total(),
            len(zeroed),
            most,
            name,
        )
