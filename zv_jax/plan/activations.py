"""Bytes of a training step on one chip, estimated where no program can be compiled."""

from __future__ import annotations

from zv_jax.config.schema import Config
from zv_jax.stages import images_per_row, labelled_tokens, stage_of
from zv_jax.training.losses.kind import loss_of
from zv_jax.training.towers import FORWARD


def temporaries(config: Config, rows: float, shards: int, tensor: int = 1) -> float:
    """Bytes of activations and gathered weights on one chip while a step runs.

    Args:
        rows: of the batch on one chip.
        shards: chips that share a weight (fsdp); 1 means that none is gathered.
        tensor: ways of tensor parallelism.
    """
    width = 2 if config.model.dtype != "float32" else 4
    stage, images = stage_of(config), images_per_row(config)
    loss = loss_of(stage)
    kinds = {tower.name: tower.kind for tower in loss.towers(config)}
    rows /= config.train.microbatches
    v, q, m = config.model.vision, config.model.qformer, config.model.llm
    total, peak = 0.0, 0.0
    if "vision" in kinds:
        tokens = ((v.image_size // v.patch_size) ** 2 + 1) * images * rows
        saved, layer = _layer(config, tokens, v.width, v.mlp_width, v.heads, tokens / rows / images)
        total += saved * v.layers * (kinds["vision"] != FORWARD)
        peak = max(peak, layer)
        total += tokens * v.width * width
    if "qformer" in kinds:
        passes = loss.qformer_passes
        text = getattr(config.data, stage.qformer_text or "max_qformer_text")
        tokens = (q.num_queries + text) * rows * passes * images
        saved, layer = _layer(config, tokens, q.width, q.mlp_width, q.heads, q.num_queries + text)
        total += saved * q.layers * (kinds["qformer"] != FORWARD)
        peak = max(peak, layer)
        if passes > 1:
            total += 2 * rows * v.tokens * v.width * width * passes
            peak = max(peak, 3 * 4 * rows * text * q.vocab_size)
    gathered = 0.0
    if "llm" in kinds:
        length = config.data.max_length
        saved, layer = _layer(config, length * rows, m.width, m.mlp_width, m.heads, length)
        total += saved * m.layers
        labelled = labelled_tokens(config, length)
        logits = 2 * 4 * rows * labelled * m.vocab_size / config.train.loss_chunks / tensor
        peak = max(peak, layer / tensor, logits)
        if shards > 1:
            one = 4 * m.width**2 + 3 * m.width * m.mlp_width
            gathered = width * max(2 * one, m.width * m.vocab_size) / tensor
    return total + peak + gathered


def _layer(
    config: Config, tokens: float, width: int, mlp: int, heads: int, length: float
) -> tuple[float, float]:
    """Bytes a layer leaves for its backward pass, and bytes it needs while it runs."""
    size = 2 if config.model.dtype != "float32" else 4
    named = size * tokens * (4 * width + 2 * mlp)
    scores = 4 * tokens * heads * length
    kept = {
        "full": 0.0,
        "offload": 0.0,
        "names": named,
        "dots_no_batch": named,
        "dots": named + scores,
        "none": 2 * named + 2 * scores,
    }[config.model.remat]
    return size * tokens * width + kept, 2 * scores + 2 * named


def rows_that_fit(config: Config, room: float, shards: int, tensor: int, scale: float = 1.0) -> int:
    """The most rows on a chip whose temporaries, times `scale`, stay within `room` bytes."""
    if scale * temporaries(config, 1, shards, tensor) > room:
        return 0
    rows = 1
    while scale * temporaries(config, 2 * rows, shards, tensor) <= room and rows < 1 << 20:
        rows *= 2
    step = rows // 2
    while step:
        if scale * temporaries(config, rows + step, shards, tensor) <= room:
            rows += step
        step //= 2
    return rows
