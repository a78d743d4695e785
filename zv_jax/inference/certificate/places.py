"""Where two sides can differ, in the order of computation, as the export names its modules."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from zv_jax.models.presets import ModelConfig

PROMPT, QFORMER_PROMPT, PIXELS = "prompt", "prompt of the Q-Former", "pixels"
LOG_PROBS, TOKENS = "log-probabilities", "greedy tokens"
INPUTS, VISION, QFORMER, PROJECTION, LLM, ANSWERS = TOWERS = (
    "inputs", "image encoder", "Q-Former", "projection", "language model", "answers"
)  # fmt: skip


@dataclass(frozen=True)
class Place:
    """A layer or another step.

    Attributes:
        name: of the module in transformers, or one of the constants above.
        tower: one of `TOWERS`.
    """

    name: str
    tower: str


def places(cfg: ModelConfig) -> tuple[Place, ...]:
    """All of them, first to last."""
    chat = cfg.qformer_sees_instruction
    vision = [f"vision_model.encoder.layers.{i}" for i in range(cfg.vision.layers)]
    former = [f"qformer.encoder.layer.{i}" for i in range(cfg.qformer.layers)]
    layers = [f"language_model.model.layers.{i}" for i in range(cfg.llm.layers)]
    names = {
        INPUTS: [PROMPT, *[QFORMER_PROMPT] * chat, PIXELS],
        VISION: ["vision_model.embeddings", *vision, "vision_model.post_layernorm"],
        QFORMER: [f"qformer.{'embeddings' if chat else 'layernorm'}", *former],
        PROJECTION: ["language_projection"],
        LLM: [
            "language_model.model.embed_tokens", *layers, "language_model.model.norm",
            "language_model.lm_head",
        ],
        ANSWERS: [LOG_PROBS, TOKENS],
    }  # fmt: skip
    return tuple(Place(name, tower) for tower in TOWERS for name in names[tower])


def place_of(tensor: str, known: Iterable[Place]) -> Place:
    """The layer that a tensor of an export, or of an adapter, belongs to."""
    known = tuple(known)
    name = tensor.removeprefix("base_model.model.")
    # The queries, and in Base the norm behind them, are what the first layer reads.
    if name == "query_tokens" or re.match(r"qformer\.(embeddings|layernorm)\.", name):
        return next(place for place in known if place.tower == QFORMER)
    return next(place for place in known if name.startswith(f"{place.name}."))
