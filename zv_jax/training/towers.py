"""FLOPs of one tower in a step: forward, and its part in the backward pass."""

from __future__ import annotations

import re
from dataclasses import dataclass

from zv_jax.config.schema import Config
from zv_jax.models import flops
from zv_jax.models.flops import Flops
from zv_jax.stages import labelled_tokens

# Cost of a tower by its part in a step: (linear layers, attention scores) in forward passes.
FORWARD, PASSED, TRAINED = (1, 1), (2, 3), (3, 3)
KEEPS_SCORES = ("none", "dots")  # remat policies under which no matrix product is computed twice
_BEHIND_ATTENTION = {"llm": "llm/layers/attn/o", "vision": "vision/blocks/attn/out"}


@dataclass(frozen=True)
class Tower:
    """FLOPs of one tower for one row of the batch.

    Attributes:
        linear, attention: of one forward pass: products with weights; scores and their values.
        kind: `FORWARD`, `PASSED` or `TRAINED`.
        recomputed: FLOPs of the forward pass that the remat policy computes twice.
    """

    name: str
    linear: float
    attention: float
    kind: tuple[int, int]
    recomputed: float = 0.0

    @property
    def forward(self) -> float:
        """One forward pass."""
        return self.linear + self.attention

    @property
    def model(self) -> float:
        """Forward and backward, without recomputation."""
        return self.linear * self.kind[0] + self.attention * self.kind[1]


def tower(config: Config, name: str, cost: Flops, kind: tuple[int, int], times: int = 1) -> Tower:
    """A tower that computes a row in `times` passes of `cost` each."""
    linear, attention = cost.times(times)
    again = 0.0
    if kind != FORWARD and config.model.remat not in KEEPS_SCORES:
        # Recomputed scores are computed in full, causal or not.
        again = 2 * attention if name == "llm" else attention
        if config.model.remat == "full":
            again += linear - times * _once(config, name)
        elif kind == PASSED and not _learns_behind_attention(config, name):
            again /= 2  # the sum of the values is read by the gradient of the next weights alone
    return Tower(name, linear, attention, kind, again)


def _learns_behind_attention(config: Config, name: str) -> bool:
    """Whether the layer that follows attention has an adapter."""
    return bool(re.fullmatch(config.model.lora.targets, _BEHIND_ATTENTION.get(name, "")))


def language_model(config: Config, kind: tuple[int, int]) -> Tower:
    """The language model over one row."""
    return tower(config, "llm", llm(config), kind)


def llm(config: Config) -> Flops:
    """One row through the language model, with the logits that carry loss."""
    length = config.data.max_length
    return flops.llama(config.model.llm, length, labelled_tokens(config, length))


def _once(config: Config, name: str) -> float:
    """Linear FLOPs of one image or row that full recomputation skips.

    Only the next layer reads the last product of a pre-norm layer, and that layer's input is saved.
    """
    v, m, length = config.model.vision, config.model.llm, config.data.max_length
    if name == "vision":
        last = 2 * v.layers * (flops.patches(v) + 1) * v.width * v.mlp_width
        return last + flops.patch_embedding(v)
    if name == "llm":
        head = llm(config).linear - length * flops.llama_token(m)
        last = 2 * m.layers * length * m.width * m.mlp_width
        return last + (head if config.train.loss_chunks == 1 else 0)
    return 0.0
