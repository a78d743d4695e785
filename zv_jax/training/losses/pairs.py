"""Stage 0: ITC, ITM and ITG in three Q-Former passes (paper Figure 2).

[queries; text] under the multimodal causal mask gives ITG and, since queries never see text there,
the image side of ITC; text alone gives the other side; the joint bidirectional pass runs on the
positives and their hard negatives.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Float32, Int, Key

from zv_jax.arrays import Array
from zv_jax.config.schema import Config
from zv_jax.models import flops
from zv_jax.models.flops import Flops
from zv_jax.models.layers import constrain
from zv_jax.models.vit import Images
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.objectives import itc, itg, itm, sample_negatives
from zv_jax.objectives.captioning import decoder_inputs
from zv_jax.objectives.contrastive import clamp_temperature
from zv_jax.parallel.sharding import single_cpu, take_rows
from zv_jax.training.losses.kind import Batch, Loss, LossTerms, register
from zv_jax.training.losses.rows import in_parts
from zv_jax.training.towers import FORWARD, TRAINED, Tower, tower


class Text(NamedTuple):
    """Texts for the Q-Former."""

    ids: Int[Array, "B T"]
    mask: Bool[Array, "B T"]


class Captions(NamedTuple):
    """Rows of the causal pass and of the pass over text alone.

    Attributes:
        features: of the images, before `ln_vision`.
        text: the captions.
        decoder_ids: the same ids, starting with [DEC].
        learned: which of them ITG learns.
    """

    features: Float[Array, "B P Dv"]
    text: Text
    decoder_ids: Int[Array, "B T"]
    learned: Bool[Array, "B T"]


class Projections(NamedTuple):
    """Both sides of ITC, normalised."""

    images: Float32[Array, "B Q E"]
    texts: Float32[Array, "B E"]


class Negatives(NamedTuple):
    """Indices of a negative image for each text, and of a negative text for each image."""

    image_of: Int[Array, " B"]
    text_of: Int[Array, " B"]


class Candidates(NamedTuple):
    """Rows of the joint pass: matching pairs and their negatives.

    Attributes:
        features, text: the positives.
        other_features: the negative image of each text.
        other_text: the negative text of each image; None where `stage.itm_pairs` is single.
        usable: whether a row has any negative.
    """

    features: Float[Array, "B P Dv"]
    text: Text
    other_features: Float[Array, "B P Dv"]
    other_text: Text | None
    usable: Bool[Array, " B"]


def pretraining_terms(
    model: ZiyaVisual,
    batch: Batch,
    key: Key[Array, ""],
    config: Config,
    negatives: tuple[Int[Array, " B"], Int[Array, " B"]] | None = None,
) -> LossTerms:
    """The three passes, and the exchange of rows between them.

    With microbatches the passes run part by part and are recomputed for the gradient, so that ITC
    and its negatives still span the entire batch (Gao et al. 2021, gradient caching).

    `negatives` replaces those drawn with `key`, for comparison with another implementation; see
    `Negatives`.
    """
    stage, parts = config.stage, config.train.microbatches
    text, image_ids = Text(batch["text_ids"], batch["text_mask"]), batch["image_ids"]
    # Before `ln_vision`: with a frozen ViT no gradient crosses the exchange of rows below.
    features, _ = in_parts(_see, model, parts, batch["images"])
    captions = Captions(
        features, text, decoder_inputs(text.ids, batch["dec_id"]), batch["text_learned"]
    )

    def read(model: ZiyaVisual, rows: Captions) -> tuple[Projections, LossTerms]:
        images, written = causal_pass(model, rows, stage.label_smoothing)
        return Projections(images, text_pass(model, rows.text)), written

    both, terms = in_parts(read, model, parts, captions)
    # Texts are small: each device scores its images against the texts of all devices.
    images, texts = constrain(both.images, "batch", None, None), constrain(both.texts, None, None)
    tau = model.heads.temperature
    terms["itc"], sims = itc(
        images, texts, tau, image_ids, stage.label_smoothing, stage.itc_gather_grad
    )
    chosen = Negatives(
        *(
            negatives
            or sample_negatives(
                key,
                sims,
                clamp_temperature(tau),
                image_ids,
                stage.itm_negatives,
                stage.itm_group,
            )
        )
    )
    _, matched = in_parts(
        joint_pass, model, parts, _candidates(features, text, image_ids, chosen, config)
    )
    found = (image_ids[sims.argmax(1)] == image_ids).sum().astype(jnp.float32)
    return {**terms, **matched, "itc_accuracy": (found, jnp.float32(len(image_ids)))}


def causal_pass(
    model: ZiyaVisual, rows: Captions, label_smoothing: float
) -> tuple[Float32[Array, "B Q E"], LossTerms]:
    """[queries; text], text hidden from queries: the image side of ITC, and ITG."""
    features = model.ln_vision(rows.features)
    queries, logits = model.caption(features, rows.decoder_ids, rows.text.mask)
    written = itg(logits, rows.text.ids, rows.learned, label_smoothing)
    return model.project_queries(queries), {"itg": written}


def text_pass(model: ZiyaVisual, text: Text) -> Float32[Array, "B E"]:
    """Text alone: the other side of ITC."""
    return model.text_embed(text.ids, text.mask)


def joint_pass(model: ZiyaVisual, rows: Candidates) -> tuple[tuple, LossTerms]:
    """Queries and text that see each other: ITM.

    (image, text), (negative image, text) and, for "both", (image, negative text) are interleaved:
    concatenated, the copies of a row would move to other devices than its image.
    """
    images = [model.ln_vision(rows.features), model.ln_vision(rows.other_features)]
    texts = [rows.text, rows.text]
    if rows.other_text is not None:
        images, texts = [*images, images[0]], [*texts, rows.other_text]
    copies = len(images)
    ids, masks = zip(*texts, strict=True)
    logits = model.match(*(_side_by_side(part) for part in (images, ids, masks)))
    labels = jnp.arange(len(logits)) % copies == 0
    weights = jnp.repeat(rows.usable, copies) | labels  # a row without any negative adds none
    right = (logits.argmax(-1) == labels) & weights
    return (), {
        "itm": itm(logits, labels.astype(jnp.int32), weights),
        "itm_accuracy": (right.sum().astype(jnp.float32), weights.sum().astype(jnp.float32)),
    }


def _candidates(
    features: Float[Array, "B P Dv"],
    text: Text,
    image_ids: Int[Array, " B"],
    chosen: Negatives,
    config: Config,
) -> Candidates:
    group = config.stage.itm_group
    same = image_ids[:, None] == image_ids[None]
    usable = (~same & _same_group(len(image_ids), group)).any(1)
    other_features, other_text = _rows(features, chosen.image_of, group), None
    if config.stage.itm_pairs == "both":
        other_text = Text(
            take_rows(text.ids, chosen.text_of, group), take_rows(text.mask, chosen.text_of, group)
        )
    return Candidates(features, text, other_features, other_text, usable)


def _see(model: ZiyaVisual, images: Images) -> tuple[Float[Array, "B P Dv"], LossTerms]:
    return model.vision(images), {}


def _side_by_side(parts: Sequence[Array]) -> Array:
    """Arrays [B, ...] interleaved row by row: [copies * B, ...]."""
    stacked = jnp.stack(parts, 1)
    return stacked.reshape(-1, *stacked.shape[2:])


def _same_group(rows: int, group: int) -> Bool[Array, "{rows} {rows}"]:
    place = jnp.arange(rows) // (group or rows)
    return place[:, None] == place[None]


def _rows(
    features: Float[Array, "B P Dv"], index: Int[Array, " B"], group: int
) -> Float[Array, "B P Dv"]:
    """features[index]; on one CPU as a one-hot product: a gather has a slow gradient there."""
    if not single_cpu():
        return take_rows(features, index, group)
    chosen = jax.nn.one_hot(index, features.shape[0], dtype=features.dtype)
    return (chosen @ features.reshape(features.shape[0], -1)).reshape(features.shape)


def pretraining_passes(config: Config) -> Flops:
    """The three Q-Former passes of stage 0 for one pair: ITG with ITC images, texts, ITM rows."""
    q, v = config.model.qformer, config.model.vision
    text, copies = config.data.max_text, 3 if config.stage.itm_pairs == "both" else 2
    joint = flops.qformer(q, v, q.num_queries, text)
    return joint + flops.qformer(q, v, 0, text) + joint.times(copies)


def five_pass_ratio(config: Config) -> float:
    """Forward FLOPs of stage 0 relative to a program that runs the queries alone for ITC.

    That program makes five calls: queries, texts, matching pairs, negatives, generation.
    """
    q, v = config.model.qformer, config.model.vision
    ours = sum(pretraining_passes(config) + flops.vision(v))
    return ours / (ours + sum(flops.qformer(q, v, q.num_queries, 0)))


def _towers(config: Config) -> list[Tower]:
    v = config.model.vision
    eyes = TRAINED if config.stage.train_vision else FORWARD
    found = [
        tower(config, "vision", flops.vision(v), eyes),
        tower(config, "qformer", pretraining_passes(config), TRAINED),
        tower(config, "heads", _heads(config), TRAINED),
    ]
    if config.train.microbatches == 1:
        return found
    # A part of the batch keeps its inputs and outputs only.
    return [
        dataclasses.replace(t, recomputed=t.recomputed + t.forward) if t.kind == TRAINED else t
        for t in found
    ]


def _heads(config: Config) -> Flops:
    q, text = config.model.qformer, config.data.max_text
    words = 2 * text * (q.width**2 + q.width * q.vocab_size)
    projections = 2 * q.width * q.embed_dim * (q.num_queries + 1)
    return Flops(words + projections, 2.0 * q.num_queries * q.embed_dim * config.train.batch_size)


def _facts(config: Config) -> dict[str, float]:
    return {"of_five_passes": five_pass_ratio(config)}


register(
    "pairs",
    Loss(
        pretraining_terms,
        _towers,
        compares_rows=True,
        qformer_passes=5,  # causal, text alone, and three joint ones
        facts=_facts,
    ),
)
