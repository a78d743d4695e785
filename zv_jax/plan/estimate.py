"""Arithmetic of a training step: operations of each tower, bytes on a chip, bytes between chips.

Model FLOPs are what the mathematics needs, whatever the program does: forward once; backward to
the inputs wherever a gradient has to pass (as much again; twice that for attention scores, which
have two inputs); backward to the weights only where they train. So a frozen language model that
carries a gradient costs 4 N per token and not 6 N. Causal attention counts half of its scores.
Padding counts: shapes are static.
"""

from __future__ import annotations

from dataclasses import dataclass

from zv_jax.config.schema import Config, labelled_tokens
from zv_jax.models.presets import QFormerConfig, VisionConfig
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


def _sum(*parts: tuple[float, float]) -> tuple[float, float]:
    return sum(p[0] for p in parts), sum(p[1] for p in parts)


def vision(v: VisionConfig) -> tuple[float, float]:
    """(linear, attention) FLOPs of one image through the ViT."""
    patches = (v.image_size // v.patch_size) ** 2
    tokens = patches + 1
    linear = v.layers * tokens * (8 * v.width**2 + 4 * v.width * v.mlp_width)
    return linear + 2 * patches * 3 * v.patch_size**2 * v.width, 4 * v.layers * tokens**2 * v.width


def qformer_pass(q: QFormerConfig, v: VisionConfig, queries: int, text: int) -> tuple[float, float]:
    """(linear, attention) FLOPs of one row with so many queries and text tokens."""
    tokens = queries + text
    linear = q.layers * tokens * (8 * q.width**2 + 4 * q.width * q.mlp_width)
    attention = 4.0 * q.layers * tokens**2 * q.width
    if queries:
        width = q.pre_proj_dim or v.width
        crossed = q.layers // 2
        linear += crossed * (4 * q.width**2 * queries + 4 * width * q.width * v.tokens)
        linear += 2 * v.width * q.pre_proj_dim * v.tokens
        attention += 4.0 * crossed * queries * v.tokens * q.width
    return linear, attention


def pretraining_passes(config: Config) -> tuple[float, float]:
    """The three Q-Former passes of stage 0 for one pair: ITG with ITC images, texts, ITM rows."""
    q, v = config.model.qformer, config.model.vision
    text, copies = config.data.max_text, 3 if config.stage.itm_pairs == "both" else 2
    joint = qformer_pass(q, v, q.num_queries, text)
    return _sum(joint, qformer_pass(q, v, 0, text), (joint[0] * copies, joint[1] * copies))


def five_pass_ratio(config: Config) -> float:
    """Forward FLOPs of stage 0 against a program that runs the queries alone for ITC.

    That one makes five calls: queries, texts, matching pairs, negatives, generation.
    """
    q, v = config.model.qformer, config.model.vision
    ours = sum(pretraining_passes(config)) + sum(vision(v))
    return ours / (ours + sum(qformer_pass(q, v, q.num_queries, 0)))


def llm(config: Config) -> tuple[float, float]:
    """(linear, attention) FLOPs of one row through the language model, output layer included."""
    m, length = config.model.llm, config.data.max_length
    head = 2 * m.width * m.vocab_size * labelled_tokens(config, length)
    return m.layers * _per_token(config) * length + head, 2.0 * m.layers * length**2 * m.width


def towers(config: Config) -> list[Tower]:
    """Every tower of the stage, for one row of the batch."""
    stage = STAGES[config.stage.name, config.stage.variant]
    images = 1 if stage.batch == "pairs" else config.data.max_images
    found: list[Tower] = []

    def add(name: str, cost: tuple[float, float], kind: tuple[int, int], times: int = 1) -> None:
        linear, attention = (part * times for part in cost)
        again = 0.0
        if kind != FORWARD and config.model.remat not in ("none", "dots", "offload"):
            # Scores that are computed again are computed whole, causal or not.
            again = 2 * attention if name == "llm" else attention
            if config.model.remat != "names":
                again += linear - times * _once(config, name)
        if stage.batch == "pairs" and kind == TRAINED and config.train.microbatches > 1:
            again += linear + attention  # a part of the batch keeps its inputs and outputs only
        found.append(Tower(name, linear, attention, kind, again))

    if stage.batch != "text":
        v = config.model.vision
        kind = TRAINED if config.stage.train_vision else PASSED if stage.adapters else FORWARD
        add("vision", vision(v), kind, images)
        if stage.adapters:
            found.append(_adapters(config, images))
        add("qformer", *_qformer(config, stage, images))
    if stage.batch == "pairs":
        add("heads", _heads(config), TRAINED)
    else:
        if stage.batch == "dialogue":
            q = config.model.qformer
            cost = 2 * q.num_queries * images * q.width * config.model.llm.width
            found.append(Tower("projector", cost, 0, TRAINED))
        add("llm", llm(config), TRAINED if stage.batch == "text" else PASSED)
    return found


def _once(config: Config, name: str) -> float:
    """Linear FLOPs of one image or row that full recomputation leaves out.

    Nothing reads the last product of a pre-norm layer but the next layer, whose input is kept.
    """
    v, m, length = config.model.vision, config.model.llm, config.data.max_length
    if name == "vision":
        patches = (v.image_size // v.patch_size) ** 2
        last = 2 * v.layers * (patches + 1) * v.width * v.mlp_width
        return last + 2 * patches * 3 * v.patch_size**2 * v.width
    if name == "llm":
        head = llm(config)[0] - m.layers * length * _per_token(config)
        last = 2 * m.layers * length * m.width * m.mlp_width
        return last + (head if config.train.loss_chunks == 1 else 0)
    return 0.0


def _per_token(config: Config) -> int:
    m = config.model.llm
    kv_width = m.width // m.heads * m.kv_heads
    return 2 * (2 * m.width**2 + 2 * m.width * kv_width + 3 * m.width * m.mlp_width)


def _qformer(config: Config, stage: Stage, images: int) -> tuple[tuple[float, float], tuple, int]:
    q, v = config.model.qformer, config.model.vision
    if stage.batch == "pairs":
        return pretraining_passes(config), TRAINED, 1
    text = config.data.max_qformer_text if config.model.qformer_sees_instruction else 0
    trained = any("qformer" in pattern for pattern in stage.trainable)
    return qformer_pass(q, v, q.num_queries, text), TRAINED if trained else FORWARD, images


def _heads(config: Config) -> tuple[float, float]:
    q, text = config.model.qformer, config.data.max_text
    words = 2 * text * (q.width**2 + q.width * q.vocab_size)
    projections = 2 * q.width * q.embed_dim * (q.num_queries + 1)
    return words + projections, 2.0 * q.num_queries * q.embed_dim * config.train.batch_size


def _adapters(config: Config, images: int) -> Tower:
    """Adapters as `CHAT_LORA` lays them; other targets change this small part only."""
    v, m, rank = config.model.vision, config.model.llm, config.model.lora.rank
    kv_width = m.width // m.heads * m.kv_heads
    eyes = 2 * rank * 4 * v.width * v.layers * ((v.image_size // v.patch_size) ** 2 + 1) * images
    words = 2 * rank * (3 * m.width + kv_width) * m.layers * config.data.max_length
    return Tower("adapters", float(eyes + words), 0, TRAINED)


def model_flops(config: Config) -> float:
    """Model FLOPs of one row of the batch; see the top of this file."""
    return sum(tower.model for tower in towers(config))


def hardware_flops(config: Config) -> float:
    """What the program computes for one row: scores uncausally, and some things twice."""
    uncausal = sum(t.attention * t.kind[1] for t in towers(config) if t.name == "llm")
    return sum(t.model + t.recomputed for t in towers(config)) + uncausal


def temporaries(config: Config, rows: float, shards: int, tensor: int = 1) -> float:
    """Bytes of activations and gathered weights on one chip while a step runs.

    Args:
        rows: of the batch on one chip.
        shards: chips that share a weight (fsdp); 1 means that none is gathered.
        tensor: ways of tensor parallelism.
    """
    width = 2 if config.model.dtype != "float32" else 4
    kinds = {tower.name: tower.kind for tower in towers(config)}
    images = 1 if config.stage.name == "stage0" else config.data.max_images
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
        passes = 1 if config.stage.name != "stage0" else 5
        text = config.data.max_text if passes > 1 else config.data.max_qformer_text
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
