"""Weights of an export against those of its checkpoint, tensor by tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from zv_jax.convert import architectures, peft
from zv_jax.convert.names import Entry
from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.convert.sources import Spec

_SUM = 4 * float(np.finfo(np.float32).eps)  # of the order in which float32 products are added


@dataclass(frozen=True)
class Tensor:
    """One tensor of an export.

    Attributes:
        name: there.
        difference: in roundings; infinite where it is missing, too many or of another shape.
        limit: 0, or 1 where an adapter was added: another processor may add in another order.
    """

    name: str
    difference: float
    limit: int = 0


def differences(
    expected: OwnCheckpoint, found: OwnCheckpoint, merged: Collection[str]
) -> Iterator[Tensor]:
    """Every tensor of `found` against that of `expected`; one leaf of each is in memory at a time.

    A rounding is that of the tensor's dtype at each number, and of a sum in float32 at the largest
    number.

    Args:
        merged: paths of the kernels that adapters were added to.
    """
    entries = architectures.write_architecture(found.config).family.entries
    table = {f"params/{path}": entry for entry in entries for path in entry.ours}
    for path in dict.fromkeys([*expected.specs, *found.specs]):
        if path in table or path.startswith("lora/"):
            tensors = _names(path, table, (expected.specs.get(path) or found.specs[path]))
            leaf = _leaf(path, expected, found, len(tensors))
            for tensor, difference in zip(tensors, leaf, strict=True):
                yield Tensor(tensor, difference, int(path in merged))


def _names(path: str, table: Mapping[str, Entry], spec: Spec) -> list[str]:
    """Of their tensors, layer by layer."""
    if path in table:
        entry = table[path]
        return [entry.names(i)[0] for i in range(spec.shape[0] if entry.stacked else 1)]
    linear, half = path.removeprefix("lora/").rsplit("/lora_", 1)
    layer = peft.adaptable()[linear]
    return [f"{layer.module(i)}.lora_{half.upper()}.weight" for i in range(spec.shape[0])]


def _leaf(path: str, expected: OwnCheckpoint, found: OwnCheckpoint, parts: int) -> list[float]:
    if path not in expected.specs or path not in found.specs:
        return [float("inf")] * parts
    stored = found.specs[path]
    if expected.specs[path].shape != stored.shape:
        return [float("inf")] * parts
    spec = Spec(stored.shape, stored.dtype)
    right, given = (model.read({path: spec})[path] for model in (expected, found))
    if parts == 1:
        right, given = right[None], given[None]
    return [roundings(*pair) for pair in zip(right, given, strict=True)]


def roundings(right: np.ndarray, given: np.ndarray) -> float:
    """The largest difference of two tensors of one dtype, in roundings of it; 0 if equal."""
    if np.array_equal(right, given):
        return 0.0
    step = float(ml_dtypes.finfo(right.dtype).eps)
    right, given = right.astype(np.float32), given.astype(np.float32)
    size = np.abs(right)
    allowed = step * size + max(_SUM * float(size.max()), float(np.finfo(np.float32).tiny))
    return float((np.abs(right - given) / allowed).max())
