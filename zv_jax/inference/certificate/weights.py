"""Weights of an export against those of its checkpoint, tensor by tensor."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass

import ml_dtypes
import numpy as np

from zv_jax.convert import architectures, peft, shards
from zv_jax.convert.names import Entry
from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.convert.sources import Spec

_TOGETHER = 1 << 28  # bytes of leaves that are read together
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
    """Every tensor of `found` against that of `expected`; little of each is in memory at a time.

    A rounding is that of the tensor's dtype at each number, and of a sum in float32 at the largest
    number.

    Args:
        merged: paths of the kernels that adapters were added to.
    """
    entries = architectures.write_architecture(found.config).family.entries
    table = {f"params/{path}": entry for entry in entries for path in entry.ours}
    both = {**expected.specs, **found.specs}
    for group in _groups({p: s for p, s in both.items() if p in table or p.startswith("lora/")}):
        right, given = (_read(model, group, found) for model in (expected, found))
        for path, spec in group.items():
            names = _names(path, table, spec)
            pair = right.get(path), given.get(path)
            for name, difference in zip(names, _layers(*pair, len(names)), strict=True):
                yield Tensor(name, difference, int(path in merged))


def _groups(specs: Mapping[str, Spec]) -> Iterator[dict[str, Spec]]:
    """Leaves that are read together, at least one: each reading opens the checkpoint anew."""
    group: dict[str, Spec] = {}
    filled = 0
    for path, spec in specs.items():
        size = shards.byte_size(spec)
        if group and filled + size > _TOGETHER:
            yield group
            group, filled = {}, 0
        group[path] = spec
        filled += size
    yield group


def _read(
    model: OwnCheckpoint, group: Iterable[str], found: OwnCheckpoint
) -> dict[str, np.ndarray]:
    """Those leaves that `model` has, in the dtype they have in `found`."""
    kinds = {path: found.specs.get(path, model.specs[path]).dtype for path in model.specs}
    held = [path for path in group if path in model.specs]
    return model.read({path: Spec(model.specs[path].shape, kinds[path]) for path in held})


def _names(path: str, table: Mapping[str, Entry], spec: Spec) -> list[str]:
    """Of their tensors, layer by layer."""
    if path in table:
        entry = table[path]
        return [entry.names(i)[0] for i in range(spec.shape[0] if entry.stacked else 1)]
    linear, half = path.removeprefix("lora/").rsplit("/lora_", 1)
    layer = peft.adaptable()[linear]
    return [f"{layer.module(i)}.lora_{half.upper()}.weight" for i in range(spec.shape[0])]


def _layers(right: np.ndarray | None, given: np.ndarray | None, count: int) -> list[float]:
    """The difference of each of `count` layers; infinite where one leaf is missing or another."""
    if right is None or given is None or right.shape != given.shape:
        return [float("inf")] * count
    if count == 1:
        right, given = right.reshape(1, -1), given.reshape(1, -1)
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
