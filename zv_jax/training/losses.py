"""Losses of the stages: functions of (bound model, batch, key, config), for `apply`."""

from __future__ import annotations

from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

from zv_jax.config.schema import Config, labelled_tokens
from zv_jax.models.layers import constrain
from zv_jax.models.llama import Llama
from zv_jax.models.ziya_visual import PATCH_SYMBOLS, ZiyaVisual
from zv_jax.objectives import itc, itg, itm, sample_negatives, unexplained, words_of_symbols
from zv_jax.objectives.captioning import decoder_inputs
from zv_jax.objectives.contrastive import clamp_temperature
from zv_jax.objectives.language import cross_entropy, labelled_positions
from zv_jax.parallel.sharding import on_one_cpu, take_rows

Array = jax.Array
Batch = dict[str, Array]
# Each term is (sum, weight); those that a stage does not name in its losses are only reported.
Terms = dict[str, tuple[Array, Array]]


def split_rows(x: Array, parts: int) -> Array:
    """[B, ...] -> [parts, B / parts, ...], neighbours going to different parts.

    Every device so keeps its rows: consecutive blocks would move most of them elsewhere.
    """
    x = x.reshape(x.shape[0] // parts, parts, *x.shape[1:])
    return constrain(x.swapaxes(0, 1), None, "batch", *[None] * (x.ndim - 2))


def join_rows(x: Array) -> Array:
    """Undoes `split_rows`."""
    return x.swapaxes(0, 1).reshape(-1, *x.shape[2:])


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

    With microbatches the passes run part by part and are computed again for the gradient, so that
    ITC and its negatives still span the whole batch (Gao et al. 2021, gradient caching).

    `negatives` fixes what is otherwise drawn with `key`, to compare with another implementation:
    the image for each text and the text for each image, int [B] each, as `sample_negatives`
    returns them.
    """
    stage, parts = config.stage, config.train.microbatches
    ids, mask, learned = batch["text_ids"], batch["text_mask"], batch["text_learned"]
    # Before `ln_vision`: with a frozen ViT no gradient crosses the exchange of rows below.
    features, _ = _in_parts(_see, model, parts, batch["images"])
    decoder_ids = decoder_inputs(ids, batch["dec_id"])

    def read(model: ZiyaVisual, *given: Array):
        features, ids, decoder_ids, mask, learned = given
        queries, logits = model.caption(model.ln_vision(features), decoder_ids, mask)
        rows = model.project_queries(queries), model.text_embed(ids, mask)
        return rows, {"itg": itg(logits, ids, learned, stage.label_smoothing)}

    (images, texts), terms = _in_parts(
        read, model, parts, features, ids, decoder_ids, mask, learned
    )
    # Texts are small: each device scores its own images against the texts of all.
    images, texts = constrain(images, "batch", None, None), constrain(texts, None, None)
    tau, image_ids = model.heads.temperature, batch["image_ids"]
    terms["itc"], sims = itc(
        images, texts, tau, image_ids, stage.label_smoothing, stage.itc_gather_grad
    )
    temperature, group = clamp_temperature(tau), stage.itm_group
    image_of, text_of = negatives or sample_negatives(
        key, sims, temperature, image_ids, stage.itm_negatives, group
    )
    same = image_ids[:, None] == image_ids[None]
    has_negative = (~same & _same_group(ids.shape[0], group)).any(1)

    def match(model: ZiyaVisual, *rows: Array):
        # (image, text), (negative image, text) and, both ways, (image, negative text); side by
        # side, since one after the other the copies would leave the device their image is on.
        features, negative, usable, ids, mask, *other = rows
        pictures = [model.ln_vision(features), model.ln_vision(negative)]
        texts, masks = [ids, ids], [mask, mask]
        if other:
            pictures, texts, masks = (
                [*pictures, pictures[0]], [*texts, other[0]], [*masks, other[1]],
            )  # fmt: skip
        copies = len(pictures)
        logits = model.match(*(_side_by_side(part) for part in (pictures, texts, masks)))
        labels = jnp.arange(len(logits)) % copies == 0
        weights = jnp.repeat(usable, copies) | labels  # a row without any negative adds none
        right = (logits.argmax(-1) == labels) & weights
        return (), {
            "itm": itm(logits, labels.astype(jnp.int32), weights),
            "itm_accuracy": (right.sum().astype(jnp.float32), weights.sum().astype(jnp.float32)),
        }

    rows = [features, _rows(features, image_of, group), has_negative, ids, mask]
    if stage.itm_pairs == "both":
        rows += [take_rows(ids, text_of, group), take_rows(mask, text_of, group)]
    _, matched = _in_parts(match, model, parts, *rows)
    found = (image_ids[sims.argmax(1)] == image_ids).sum().astype(jnp.float32)
    return {**terms, **matched, "itc_accuracy": (found, jnp.float32(ids.shape[0]))}


def _see(model: ZiyaVisual, images: Array) -> tuple[Array, Terms]:
    return model.vision(images), {}


def _in_parts(function: Callable, model: ZiyaVisual, parts: int, *rows: Array) -> tuple:
    """`function(model, *rows) -> (rows, terms)`, in `parts` pieces one after the other.

    Each piece keeps only its inputs and outputs for the gradient.
    """
    if parts == 1:
        return function(model, *rows)

    def piece(model: ZiyaVisual, carry: None, part: tuple) -> tuple[None, tuple]:
        return carry, function(model, *part)

    scanned = nn.scan(
        nn.remat(piece, prevent_cse=False),
        variable_broadcast=("params", "lora"),
        split_rngs={"params": False, "dropout": True},
    )
    _, (out, terms) = scanned(model, None, tuple(split_rows(x, parts) for x in rows))
    return jax.tree.map(join_rows, out), jax.tree.map(lambda x: x.sum(0), terms)


def _side_by_side(parts: list[Array]) -> Array:
    """Arrays [B, ...] interleaved row by row: [copies * B, ...]."""
    stacked = jnp.stack(parts, 1)
    return stacked.reshape(-1, *stacked.shape[2:])


def _same_group(rows: int, group: int) -> Array:
    place = jnp.arange(rows) // (group or rows)
    return place[:, None] == place[None]


def _rows(features: Array, index: Array, group: int) -> Array:
    """features[index]; as a one-hot product on one CPU, whose gather has a slow gradient."""
    if not on_one_cpu():
        return take_rows(features, index, group)
    chosen = jax.nn.one_hot(index, features.shape[0], dtype=features.dtype)
    return (chosen @ features.reshape(features.shape[0], -1)).reshape(features.shape)


def patch_terms(model: ZiyaVisual, batch: Batch, key: Array, config: Config) -> Terms:
    """What every patch shows, as the symbols that the language warm-up reads."""
    del key, config
    symbols = batch["symbols"]
    said = model.describe_patches(batch["images"])
    # One side of each patch's box is enough for the words, and a quarter of the cost.
    rows = jnp.arange(symbols.shape[0])[:, None]
    patches = jnp.arange(symbols.shape[1] // PATCH_SYMBOLS)
    chosen = (patches * PATCH_SYMBOLS + (rows + patches) % PATCH_SYMBOLS)[..., None]
    logits = model.llm.embed.attend(jnp.take_along_axis(said, chosen, 1))
    return {
        "symbols": unexplained(said, model.symbol_tokens(symbols)),
        "words": words_of_symbols(logits, jnp.take_along_axis(symbols, chosen, 1)),
    }


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
    limit = labelled_tokens(config, batch["labels"].shape[1])
    where, targets, weights = labelled_positions(batch["labels"], limit)
    chosen = jnp.take_along_axis(hidden, where[..., None], 1)
    return _token_terms(model.llm, chosen, targets, weights, config.train.loss_chunks)


def _token_terms(llm: Llama, hidden: Array, targets: Array, weights: Array, chunks: int) -> Terms:
    """Cross-entropy and accuracy of hidden [B, N, D], in `chunks` along N.

    Logits of only one chunk exist at a time, in the backward pass too: 256 answers of 39,424 words
    would take 40 MB a row in float32, and as much for their gradient.
    """

    def terms(llm: Llama, hidden: Array, targets: Array, weights: Array) -> Terms:
        logits = llm.logits(hidden)
        right = ((logits.argmax(-1) == targets) * weights).sum()
        return {
            "lm": cross_entropy(logits, targets, weights),
            "token_accuracy": (right, weights.sum()),
        }

    if chunks == 1:
        return terms(llm, hidden, targets, weights)

    def piece(llm: Llama, carry: None, part: tuple) -> tuple[None, Terms]:
        return carry, terms(llm, *part)

    def split(x: Array) -> Array:
        return x.reshape(x.shape[0], chunks, -1, *x.shape[2:]).swapaxes(0, 1)

    scanned = nn.scan(
        nn.remat(piece, prevent_cse=False), variable_broadcast=("params", "lora"),
        split_rngs={"params": False, "dropout": False},
    )  # fmt: skip
    _, found = scanned(llm, None, (split(hidden), split(targets), split(weights)))
    return jax.tree.map(lambda x: x.sum(0), found)
