"""Tiny models of Hugging Face, every weight random, read by the conversion itself.

Fresh tiny models of Hugging Face are degenerate (zero queries, zero biases, norms at one), and a
comparison of those proves nothing.
"""

from dataclasses import dataclass
from typing import Any

import pytest

from zv_jax import trees
from zv_jax.config import Config
from zv_jax.convert import hf


def randomise(module, seed: int = 0, scale: float = 0.15) -> None:
    """Noise in every parameter; norms stay around 1. The k third of a fused qkv bias stays 0."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator) * scale
            norm = name.endswith("weight") and parameter.ndim == 1
            parameter.copy_(noise + 1 if norm else noise)
            if name.endswith("qkv.bias"):
                third = len(parameter) // 3
                parameter[third : 2 * third] = 0
    module.eval()


@dataclass(frozen=True)
class Converted:
    """What `zv convert from-hf` makes of a module: our configuration and parameters (nested)."""

    config: Config
    params: dict[str, Any]


@pytest.fixture(scope="session")
def convert(tmp_path_factory):
    """`convert(module)` makes every parameter random, saves the module and converts it."""
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # more only wait for each other at these sizes

    def run(module) -> Converted:
        randomise(module)
        folder = tmp_path_factory.mktemp("hf")
        module.save_pretrained(folder)
        opened = hf.open_hf(folder)
        flat = {path.removeprefix("params/"): leaf.value() for path, leaf in opened.leaves.items()}
        return Converted(opened.config, trees.unflatten(flat))

    return run
