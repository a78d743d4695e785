"""What every layer of the model gives, for comparisons with other implementations."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32, Int

from zv_jax.arrays import Array
from zv_jax.models import llama, qformer, vit
from zv_jax.models.placeholders import RowImages
from zv_jax.models.presets import ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual

Seen = dict[str, list[Float[Array, " ..."]]]

_KEPT = "intermediates"
_STACKS = (vit.Block, qformer.Layer, llama.DecoderLayer)
_ALONE = {"ln_vision", "projector", "llm/norm"}


def watch(
    cfg: ModelConfig,
    variables: Mapping[str, Any],
    images: RowImages | None,
    input_ids: Int[Array, "B T"],
    attention_mask: Bool[Array, "B T"],
    qformer_input_ids: Int[Array, "B S"] | None = None,
    qformer_attention_mask: Bool[Array, "B S"] | None = None,
) -> tuple[Float32[Array, "B T V"], Seen]:
    """Runs the model; arguments after `variables` as of `ZiyaVisual.__call__`.

    Returns:
        The logits, and lists of activations in the order in which they arise, each [N, tokens,
        width] in the dtype of the model. "vision", "qformer" and "llm" have what enters the first
        layer, then what leaves each; "ln_vision", "projector" and "llm/norm" one element. In the
        Q-Former the queries precede the text. N is B, or B * I for what belongs to images.
    """
    with nn.intercept_methods(_note):
        logits, kept = ZiyaVisual(cfg).apply(
            variables, images, input_ids, attention_mask, qformer_input_ids,
            qformer_attention_mask, mutable=[_KEPT],
        )  # fmt: skip
    return logits, _in_order(kept[_KEPT])


def _note(call: Callable, args: tuple, kwargs: dict, context: nn.module.InterceptorContext) -> Any:
    """Calls the method; keeps what a layer of a stack reads and gives, and what some norms give."""
    given = call(*args, **kwargs)
    module = context.module
    if context.method_name != "__call__":
        return given
    if isinstance(module, qformer.Layer):
        module.sow(_KEPT, "reads", _joined(args[:2]))
        module.sow(_KEPT, "gives", _joined(given))
    elif isinstance(module, _STACKS):
        module.sow(_KEPT, "reads", args[0])
        module.sow(_KEPT, "gives", given[0])
    elif "/".join(module.path) in _ALONE:
        module.sow(_KEPT, "gives", given)
    return given


def _joined(halves: qformer.Halves) -> Float[Array, "B N D"]:
    return jnp.concatenate([half for half in halves if half is not None], 1)


def _in_order(kept: Mapping[str, Any]) -> Seen:
    seen: Seen = {}
    if "vision" in kept:
        seen["vision"] = _stack([kept["vision"]["blocks"]])
        seen["ln_vision"] = list(kept["ln_vision"]["gives"])
        pairs = kept["qformer"]["pairs"]
        seen["qformer"] = _stack([pairs["even"], pairs["odd"]])
        seen["projector"] = list(kept["projector"]["gives"])
    layers = kept["llm"]["layers"]
    if "0" in layers:  # one by one: see `layout`
        alone = [layers[str(i)] for i in range(len(layers))]
        seen["llm"] = [alone[0]["reads"][0], *(layer["gives"][0] for layer in alone)]
    else:
        seen["llm"] = _stack([layers])
    return seen | {"llm/norm": list(kept["llm"]["norm"]["gives"])}


def _stack(turns: list[Mapping[str, Any]]) -> list[Float[Array, "N T D"]]:
    """Activations of layers that are stacked [L, ...]; several kinds of layers take turns."""
    gives = [turn["gives"][0] for turn in turns]
    rows = [layer[i] for i in range(len(gives[0])) for layer in gives]
    return [turns[0]["reads"][0][0], *rows]
