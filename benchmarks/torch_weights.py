"""Our parameters into the PyTorch model: same names, layers unstacked, matrices transposed."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from zv_jax.errors import CheckpointError


@dataclass(frozen=True)
class Place:
    """Where a torch parameter lies in our tree."""

    parameter: nn.Parameter
    path: str  # such as params/vision/blocks/fc1/kernel
    layer: int | None  # its index on the leading axis of a stacked leaf
    transposed: bool


def places(model: nn.Module) -> Iterator[Place]:
    """One for every parameter of the torch model."""
    for module_name, module in model.named_modules():
        parts = module_name.split(".") if module_name else []
        numbers = [int(part) for part in parts if part.isdigit()]
        names = [part for part in parts if not part.isdigit()]
        for name, parameter in module.named_parameters(recurse=False):
            leaf, transposed = name, False
            if name == "weight":
                transposed = isinstance(module, nn.Linear)
                embedding = isinstance(module, nn.Embedding)
                leaf = "kernel" if transposed else "embedding" if embedding else "scale"
            collection = "lora" if name.startswith("lora_") else "params"
            path = "/".join([collection, *names, leaf])
            yield Place(parameter, path, numbers[0] if numbers else None, transposed)


def load(model: nn.Module, leaves: Mapping[str, np.ndarray], trainable: Collection[str]) -> None:
    """Copies every leaf and lets only the `trainable` ones take gradients.

    Raises:
        CheckpointError: a leaf is missing, left over or of another shape.
    """
    by_path: dict[str, list[Place]] = {}
    for place in places(model):
        by_path.setdefault(place.path, []).append(place)
    if by_path.keys() != set(leaves):
        different = sorted(by_path.keys() ^ set(leaves))
        raise CheckpointError(
            f"the two models differ in {len(different)} leaves, the first is {different[0]!r}",
            where="benchmarks/torch_model.py",
            expected="the same parameters on both sides",
            fix="bring the PyTorch model up to date with zv_jax/models",
        )
    for path, found in by_path.items():
        leaf = leaves[path]  # read once: an .npz decompresses at every access
        for place in found:
            value = leaf if place.layer is None else leaf[place.layer]
            value = value.T if place.transposed else value
            if value.shape != tuple(place.parameter.shape):
                raise CheckpointError(
                    f"leaf {path!r} has shape {value.shape}",
                    where="benchmarks/torch_model.py",
                    expected=str(tuple(place.parameter.shape)),
                    fix="bring the PyTorch model up to date with zv_jax/models",
                )
            with torch.no_grad():
                place.parameter.copy_(torch.as_tensor(value))
            place.parameter.requires_grad_(path in trainable)
