"""Checkpoints in the format of transformers, written by numpy from their public lists of names."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

HERE = Path(__file__).parent


def tensors_of(kind: str, seed: int = 0, dtype: object = np.float32) -> dict[str, np.ndarray]:
    """Random tensors with the names and shapes of a tiny model of that kind.

    The middle third of a fused bias is zero, as it is in every published checkpoint.
    """
    rng = np.random.default_rng(seed)
    out = {}
    for line in (HERE / f"keys/{kind}.txt").read_text().splitlines():
        if line.startswith("#"):
            continue
        name, shape = line.split("\t")
        shape = tuple(int(n) for n in shape.strip("(),").split(",") if n.strip())
        value = rng.standard_normal(shape) * 0.15
        if name.endswith("qkv.bias"):
            value[len(value) // 3 : 2 * len(value) // 3] = 0
        if name.endswith("weight") and len(shape) == 1:
            value += 1
        out[name] = value.astype(dtype)
    return out


def save_shards(folder: Path, tensors: dict[str, np.ndarray], shards: int = 1) -> None:
    """As `save_pretrained` writes them: one file, or several with an index."""
    folder.mkdir(parents=True, exist_ok=True)
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", {"format": "pt"})
        return
    names = list(tensors)
    weight_map = {}
    for i in range(shards):
        part = {name: tensors[name] for name in names[i::shards]}
        file = f"model-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, folder / file, {"format": "pt"})
        weight_map.update(dict.fromkeys(part, file))
    total = sum(value.nbytes for value in tensors.values())
    index = {"metadata": {"total_size": total}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


@pytest.fixture
def tensors():
    """`tensors("instructblip", seed=0, dtype=float32)`."""
    return tensors_of


@pytest.fixture
def shards():
    """`shards(folder, tensors, count)` writes them."""
    return save_shards
