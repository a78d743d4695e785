"""The stages of the paper (section 3.3) as one table: what trains, what is fed, which loss.

| stage    | variant | trains                                               | loss            |
|----------|---------|------------------------------------------------------|-----------------|
| language | both    | the LLM (only where no pre-trained one is at hand)   | LM on text      |
| stage0   | both    | queries, Q-Former, heads, ln_vision (ViT on request) | ITC + ITM + ITG |
| stage1   | Base    | projector                                            | LM on answers   |
| stage1   | Chat    | Q-Former, ln_vision, projector                       | LM on answers   |
| stage2   | Base    | Q-Former, ln_vision, projector                       | LM on answers   |
| stage2   | Chat    | the same, and LoRA in ViT and LLM                    | LM on answers   |

Fed are image-text pairs in stage 0, instructions in stage 1, dialogues in stage 2; in Chat the
instruction enters the Q-Former too.
ln_vision trains wherever the Q-Former does, as in LAVIS, where it lies outside the frozen ViT.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp

from zv_jax.config import Config
from zv_jax.errors import ConfigError
from zv_jax.models.presets import LoraConfig, ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual, positions_of
from zv_jax.objectives import itc, itg, itm, sample_negatives
from zv_jax.objectives.captioning import decoder_inputs
from zv_jax.objectives.contrastive import clamp_temperature
from zv_jax.objectives.language import cross_entropy, labelled_positions

Array = jax.Array
Batch = dict[str, Array]
# Each term is (sum, weight); the loss is the sum of the means of the terms named in Stage.losses,
# the others are only reported.
Terms = dict[str, tuple[Array, Array]]

QFORMER = r"params/(ln_vision|qformer)/.*"


@dataclass(frozen=True)
class Stage:
    """One row of the table. `trainable` are full-match patterns of parameter paths."""

    batch: str  # pairs | dialogue | text
    losses: tuple[str, ...]
    trainable: tuple[str, ...]
    adapters: bool = False


STAGES: dict[tuple[str, str], Stage] = {}
for _variant in ("base", "chat"):
    STAGES["language", _variant] = Stage("text", ("lm",), (r"params/llm/.*",))
    STAGES["stage0", _variant] = Stage(
        "pairs", ("itc", "itm", "itg"), (QFORMER, r"params/heads/.*")
    )
STAGES["stage1", "base"] = Stage("dialogue", ("lm",), (r"params/projector/.*",))
STAGES["stage1", "chat"] = Stage("dialogue", ("lm",), (QFORMER, r"params/projector/.*"))
STAGES["stage2", "base"] = STAGES["stage1", "chat"]
STAGES["stage2", "chat"] = Stage(
    "dialogue", ("lm",), (QFORMER, r"params/projector/.*", r"lora/(vision|llm)/.*"), adapters=True
)


def stage_of(config: Config) -> Stage:
    """The row of the table for `config.stage`.

    Raises:
        ConfigError: the ViT shall train in a stage other than 0.
    """
    stage = STAGES[config.stage.name, config.stage.variant]
    if config.stage.train_vision:
        if config.stage.name != "stage0":
            raise ConfigError(
                "the ViT trains as a whole only in stage 0",
                where="stage.train_vision",
                expected="False in " + config.stage.name,
                fix="use stage2 chat for LoRA on the ViT",
            )
        stage = dataclasses.replace(stage, trainable=(*stage.trainable, r"params/vision/.*"))
    return stage


def stage_model(config: Config) -> ModelConfig:
    """The architecture this stage builds: Base or Chat, with adapters only where they train."""
    stage = stage_of(config)
    model = dataclasses.replace(
        config.model, qformer_sees_instruction=config.stage.variant == "chat"
    )
    if not stage.adapters:
        return dataclasses.replace(model, lora=LoraConfig())
    if not model.lora.targets:
        raise ConfigError(
            "this stage trains adapters and the model has none",
            where="model.lora.targets",
            expected="a pattern of layer paths",
            fix="use a preset whose name ends in _chat or set the field",
        )
    return model


def split(paths: Iterable[str], stage: Stage) -> tuple[list[str], list[str]]:
    """Parameter paths as (trainable, frozen).

    Raises:
        ConfigError: a pattern matches no parameter.
    """
    paths = list(paths)
    for pattern in stage.trainable:
        if not any(re.fullmatch(pattern, path) for path in paths):
            raise ConfigError(
                f"the trainable pattern {pattern!r} matches no parameter",
                where="stage",
                expected="at least one of the model's parameters",
                fix="check model.lora.targets and the model preset",
            )
    trainable = [p for p in paths if any(re.fullmatch(t, p) for t in stage.trainable)]
    chosen = set(trainable)
    return trainable, [p for p in paths if p not in chosen]


def stage_table(flat: dict[str, jax.Array], trainable: set[str]) -> list[dict]:
    """Parameters per tower: how many train, are frozen, belong to trained adapters."""
    rows: dict[str, dict] = {}
    for path, leaf in flat.items():
        collection, tower = path.split("/")[:2]
        row = rows.setdefault(tower, dict(tower=tower, trainable=0, frozen=0, adapter=0))
        kind = (
            "frozen"
            if path not in trainable
            else ("adapter" if collection == "lora" else "trainable")
        )
        row[kind] += int(leaf.size)
    return [rows[tower] for tower in sorted(rows)]


# --- losses: functions of (bound model, batch, key, config), used as `method=` of apply -----------


def pretraining_terms(
    model: ZiyaVisual,
    batch: Batch,
    key: Array,
    config: Config,
    negatives: tuple[Array, Array] | None = None,
) -> Terms:
    """ITC, ITM and ITG in three Q-Former passes (paper Figure 2).

    [queries; text] under the multimodal causal mask gives ITG and, since queries never see text
    there, the image side of ITC; text alone gives the other side; the joint bidirectional pass
    runs on the positives and their hard negatives.

    `negatives` fixes what is otherwise drawn with `key`, to compare with another implementation:
    the image for each text and the text for each image, int [B] each, as `sample_negatives`
    returns them.
    """
    stage, ids, mask = config.stage, batch["text_ids"], batch["text_mask"]
    features = model.encode_images(batch["images"])
    queries, logits = model.caption(features, decoder_inputs(ids, batch["dec_id"]), mask)
    tau = model.heads.temperature
    terms = {"itg": itg(logits, ids, mask, stage.label_smoothing)}
    terms["itc"], sims = itc(
        model.project_queries(queries),
        model.text_embed(ids, mask),
        tau,
        batch["image_ids"],
        stage.label_smoothing,
        stage.itc_gather_grad,
    )
    image_of, text_of = negatives or sample_negatives(
        key, sims, clamp_temperature(tau), batch["image_ids"], stage.itm_negatives
    )
    # Rows: (image, text), (negative image, text) and, with both directions, (image, negative text).
    rows = [features, _rows(features, image_of)]
    texts, masks = [ids, ids], [mask, mask]
    if stage.itm_pairs == "both":
        rows.append(features)
        texts.append(ids[text_of])
        masks.append(mask[text_of])
    batch_size, copies = ids.shape[0], len(rows)
    logits = model.match(*(jnp.concatenate(part) for part in (rows, texts, masks)))
    labels = jnp.arange(copies * batch_size) < batch_size
    same = batch["image_ids"][:, None] == batch["image_ids"][None]
    weights = jnp.tile((~same).any(1), copies) | labels  # a row without any negative adds none
    terms["itm"] = itm(logits, labels.astype(jnp.int32), weights)
    right = (logits.argmax(-1) == labels) & weights
    terms["itm_accuracy"] = right.sum().astype(jnp.float32), weights.sum().astype(jnp.float32)
    best = sims.argmax(1)
    found = (batch["image_ids"][best] == batch["image_ids"]).sum().astype(jnp.float32)
    terms["itc_accuracy"] = found, jnp.float32(batch_size)
    return terms


def _rows(features: Array, index: Array) -> Array:
    """features[index]; as a one-hot product on CPU, whose gather has a slow scatter as gradient."""
    if jax.default_backend() != "cpu":
        return features[index]
    chosen = jax.nn.one_hot(index, features.shape[0], dtype=features.dtype)
    return (chosen @ features.reshape(features.shape[0], -1)).reshape(features.shape)


def language_terms(model: ZiyaVisual, batch: Batch, key: Array, config: Config) -> Terms:
    """Next-token loss on labelled tokens: dialogues with images, or with symbols of them."""
    del key
    if "images" in batch:
        visual = model.visual_tokens(
            batch["images"], batch["qformer_input_ids"], batch["qformer_attention_mask"]
        )
    else:
        visual = model.symbol_tokens(batch["symbols"])
    hidden = model.hidden(visual, batch["input_ids"], batch["attention_mask"])
    # In text every token may carry loss; dialogues hold at most `max_answer` labels in a row.
    limit = config.data.max_answer if "images" in batch else config.data.max_length
    where, targets, weights = labelled_positions(batch["labels"], limit)
    logits = model.llm.logits(jnp.take_along_axis(hidden, where[..., None], 1))
    right = ((logits.argmax(-1) == targets) * weights).sum()
    return {
        "lm": cross_entropy(logits, targets, weights),
        "token_accuracy": (right, weights.sum()),
    }


def terms_of(stage: Stage) -> Callable[[ZiyaVisual, Batch, Array, Config], Terms]:
    """The loss function of a stage."""
    return pretraining_terms if stage.batch == "pairs" else language_terms


def initialise_all(model: ZiyaVisual, batch: Batch, stage: Stage) -> None:
    """Touch exactly the parts the stage has, so that `init` makes their parameters."""
    if stage.batch == "pairs":
        ids, mask = batch["text_ids"], batch["text_mask"]
        features = model.encode_images(batch["images"])
        queries, _ = model.caption(features, ids, mask)
        model.project_queries(queries)
        model.text_embed(ids, mask)
        model.match(features, ids, mask)
    elif stage.batch == "dialogue":
        model(
            batch["images"],
            batch["input_ids"],
            batch["attention_mask"],
            batch["qformer_input_ids"],
            batch["qformer_attention_mask"],
        )
    else:
        mask = batch["attention_mask"]
        length = mask.shape[1]
        hidden, _ = model.llm(
            model.llm.embed(batch["input_ids"]),
            positions_of(mask),
            jnp.ones((mask.shape[0], length, length), bool),
        )
        model.llm.logits(hidden)
