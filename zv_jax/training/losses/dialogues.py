"""Stages 1 and 2: the loss of answers, given images and a dialogue."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Key

from zv_jax.arrays import Array
from zv_jax.config.schema import Config
from zv_jax.models import flops
from zv_jax.models.placeholders import check_placeholders
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.stages import images_per_row, stage_of
from zv_jax.training.losses.kind import Batch, Loss, LossTerms, register
from zv_jax.training.losses.next_tokens import next_token_terms
from zv_jax.training.towers import FORWARD, PASSED, TRAINED, Tower, language_model, tower


def dialogue_terms(
    model: ZiyaVisual, batch: Batch, key: Key[Array, ""], config: Config
) -> LossTerms:
    """Next-token loss on the labelled tokens of dialogues with images."""
    del key
    visual = model.visual_tokens(
        batch["images"], batch["qformer_input_ids"], batch["qformer_attention_mask"]
    )
    return next_token_terms(model, visual, batch, config)


def _check(batch: Mapping[str, np.ndarray], config: Config) -> None:
    check_placeholders(batch["images"], batch["input_ids"], config.model)


def _towers(config: Config) -> list[Tower]:
    stage, images = stage_of(config), images_per_row(config)
    v, q, m = config.model.vision, config.model.qformer, config.model.llm
    text = config.data.max_qformer_text if config.model.qformer_sees_instruction else 0
    trained = any("qformer" in pattern for pattern in stage.trainable)
    seen = flops.qformer(q, v, q.num_queries, text)
    found = [
        tower(config, "vision", flops.vision(v), PASSED if stage.adapters else FORWARD, images)
    ]
    if stage.adapters:
        cost = flops.adapters(v, m, config.model.lora, images, config.data.max_length)
        found.append(Tower("adapters", cost.linear, 0, TRAINED))
    projector = 2.0 * q.num_queries * images * q.width * m.width
    return [
        *found,
        tower(config, "qformer", seen, TRAINED if trained else FORWARD, images),
        Tower("projector", projector, 0, TRAINED),
        language_model(config, PASSED),
    ]


register("dialogues", Loss(dialogue_terms, _towers, check=_check))
