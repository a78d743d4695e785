"""Operations of a training step: each tower of the stage, forward and backward.

Model FLOPs are what the mathematics needs, whatever the program does: forward once; backward to
the inputs wherever a gradient has to pass (as much again; twice that for attention scores, which
have two inputs); backward to the weights only where they train. So a frozen language model that
carries a gradient costs 4 N per token and not 6 N. Causal attention counts half of its scores.
Padding counts: shapes are static.
"""

from __future__ import annotations

from dataclasses import dataclass

from zv_jax.config.schema import Config, labelled_tokens
from zv_jax.models import flops
from zv_jax.models.flops import Flops
from zv_jax.models.ziya_visual import PATCH_SYMBOLS
from zv_jax.stages import STAGES, Stage

# How a tower takes part: (linear layers, attention scores) in units of the forward pass.
FORWARD, PASSED, TRAINED = (1, 1), (2, 3), (3, 3)
FORMULA = (
    "model FLOPs = linear x (1 forward + 1 where a gradient passes + 1 where weights train) + "
    "attention x (1 + 2 where a gradient passes), causal half, padding included"
)


@dataclass(frozen=True)
class Tower:
    """Operations of one tower for one row of the batch.

    Attributes:
        linear, attention: of one forward pass: products with weights, and scores with values.
        kind: `FORWARD`, `PASSED` or `TRAINED`.
        recomputed: of the forward pass, what a program with the remat policy computes twice.
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
        """Forward and backward, as the mathematics needs them."""
        return self.linear * self.kind[0] + self.attention * self.kind[1]


def pretraining_passes(config: Config) -> Flops:
    """The three Q-Former passes of stage 0 for one pair: ITG with ITC images, texts, ITM rows."""
    q, v = config.model.qformer, config.model.vision
    text, copies = config.data.max_text, 3 if config.stage.itm_pairs == "both" else 2
    joint = flops.qformer(q, v, q.num_queries, text)
    return joint + flops.qformer(q, v, 0, text) + joint.times(copies)


def five_pass_ratio(config: Config) -> float:
    """Forward FLOPs of stage 0 against a program that runs the queries alone for ITC.

    That one makes five calls: queries, texts, matching pairs, negatives, generation.
    """
    q, v = config.model.qformer, config.model.vision
    ours = sum(pretraining_passes(config) + flops.vision(v))
    return ours / (ours + sum(flops.qformer(q, v, q.num_queries, 0)))


def llm(config: Config) -> Flops:
    """One row through the language model, with the logits that carry loss."""
    length = config.data.max_length
    return flops.llama(config.model.llm, length, labelled_tokens(config, length))


def towers(config: Config) -> list[Tower]:
    """Every tower of the stage, for one row of the batch."""
    stage = STAGES[config.stage.name, config.stage.variant]
    images = 1 if stage.batch == "pairs" else config.data.max_images
    found: list[Tower] = []

    def add(name: str, cost: Flops, kind: tuple[int, int], times: int = 1) -> None:
        linear, attention = cost.times(times)
        again = 0.0
        if kind != FORWARD and config.model.remat not in ("none", "dots", "offload"):
            # Scores that are computed again are computed whole, causal or not.
            again = 2 * attention if name == "llm" else attention
            if config.model.remat != "names":
                again += linear - times * _once(config, name)
        if stage.batch == "pairs" and kind == TRAINED and config.train.microbatches > 1:
            again += linear + attention  # a part of the batch keeps its inputs and outputs only
        found.append(Tower(name, linear, attention, kind, again))

    v, q, m = config.model.vision, config.model.qformer, config.model.llm
    if stage.batch == "patches":
        add("vision", flops.vision(v), TRAINED)
        found += _patch_head(config)
        return found
    if stage.batch != "text":
        kind = TRAINED if config.stage.train_vision else PASSED if stage.adapters else FORWARD
        add("vision", flops.vision(v), kind, images)
        if stage.adapters:
            lora, length = config.model.lora, config.data.max_length
            cost = flops.adapters(v, m, lora, images, length)
            found.append(Tower("adapters", cost.linear, 0, TRAINED))
        add("qformer", *_qformer(config, stage, images))
    if stage.batch == "pairs":
        add("heads", _heads(config), TRAINED)
    else:
        if stage.batch == "dialogue":
            cost = 2.0 * q.num_queries * images * q.width * m.width
            found.append(Tower("projector", cost, 0, TRAINED))
        add("llm", llm(config), TRAINED if stage.batch == "text" else PASSED)
    return found


def _patch_head(config: Config) -> list[Tower]:
    """What the vision warm-up adds to the ViT: symbols of each patch, words of one of them."""
    v, m = config.model.vision, config.model.llm
    head = 2.0 * flops.patches(v) * v.width * PATCH_SYMBOLS * m.width
    words = 2.0 * flops.patches(v) * m.width * m.vocab_size
    return [Tower("patch_head", head, 0, TRAINED), Tower("words", words, 0, PASSED)]


def _once(config: Config, name: str) -> float:
    """Linear FLOPs of one image or row that full recomputation leaves out.

    Nothing reads the last product of a pre-norm layer but the next layer, whose input is kept.
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


def _qformer(config: Config, stage: Stage, images: int) -> tuple[Flops, tuple, int]:
    q, v = config.model.qformer, config.model.vision
    if stage.batch == "pairs":
        return pretraining_passes(config), TRAINED, 1
    text = config.data.max_qformer_text if config.model.qformer_sees_instruction else 0
    trained = any("qformer" in pattern for pattern in stage.trainable)
    return flops.qformer(q, v, q.num_queries, text), TRAINED if trained else FORWARD, images


def _heads(config: Config) -> Flops:
    q, text = config.model.qformer, config.data.max_text
    words = 2 * text * (q.width**2 + q.width * q.vocab_size)
    projections = 2 * q.width * q.embed_dim * (q.num_queries + 1)
    return Flops(words + projections, 2.0 * q.num_queries * q.embed_dim * config.train.batch_size)


def model_flops(config: Config) -> float:
    """Model FLOPs of one row of the batch; see the top of this file."""
    return sum(tower.model for tower in towers(config))


def hardware_flops(config: Config) -> float:
    """What the program computes for one row: scores uncausally, and some things twice."""
    uncausal = sum(t.attention * t.kind[1] for t in towers(config) if t.name == "llm")
    return sum(t.model + t.recomputed for t in towers(config)) + uncausal
