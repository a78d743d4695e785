"""What our own model gives for the questions of a certificate."""

from __future__ import annotations

import jax
import numpy as np
from jaxtyping import Float32

from zv_jax.inference.certificate.cases import CASES, NEW_TOKENS, images
from zv_jax.inference.certificate.places import (
    LLM,
    LOG_PROBS,
    PIXELS,
    PROMPT,
    QFORMER,
    QFORMER_PROMPT,
    TOKENS,
    Place,
    places,
)
from zv_jax.inference.inputs import Inputs
from zv_jax.inference.model import Model
from zv_jax.inference.prompts import Question, existing
from zv_jax.models import vit, watch
from zv_jax.models.axes import on_mesh

Measured = dict[str, np.ndarray]
"""By `key`: what was measured at a place for a question. Activations are float32 [..., width]."""

_watch = jax.jit(watch.watch, static_argnums=0)

SPARE = "spare"  # how much more probable each token is than the second best


def key(place: str, case: int) -> str:
    """The name of what was measured there for the question of that number."""
    return f"{place}/{case}"


def questions(model: Model) -> list[Question]:
    """The rows of all questions, with their images."""
    shown = images(model.config.model.vision.image_size)
    return model.processor.questions(
        [case.question for case in CASES],
        [[shown[i] for i in case.images] for case in CASES],
        max_new_tokens=NEW_TOKENS,
    )


def measure(model: Model) -> Measured:
    """Inputs, activations of every layer, greedy tokens and their log-probabilities.

    Products of matrices are those of float32 also where a device has faster ones (TF32, bfloat16).

    Raises:
        ConfigError, DataError: the model has no tokenizer, or three images leave no room.
    """
    rows = questions(model)
    inputs = model.processor.collate(rows, max_new_tokens=NEW_TOKENS)
    with jax.default_matmul_precision("highest"), on_mesh(model.mesh):
        found = np.asarray(model.sequences(inputs, max_new_tokens=NEW_TOKENS).tokens)[:, 0]
        given = jax.tree.map(np.asarray, _answered(inputs, found))
        logits, seen = _watch(model.config.model, model.variables, *given)
    taken = Measured()
    towers = {name: [np.asarray(x, np.float32) for x in layers] for name, layers in seen.items()}
    towers["logits"] = [np.asarray(logits)]
    eos = existing(model.tokenizer, "certificate").eos_id
    for case, row in enumerate(rows):
        taken |= _inputs(model, case, row)
        for place, value in zip(_layers(model), _in_order(towers), strict=True):
            if (part := _part(place, value, case, row, inputs)) is not None:
                taken[key(place.name, case)] = part
        ids = found[case].tolist()
        count = ids.index(eos) + 1 if eos in ids else len(ids)
        start = inputs.input_ids.shape[1] - 1
        answered = np.asarray(logits)[case, start : start + count]
        taken |= _answer(case, found[case, :count], answered, model.config.model.image_token_id)
    return taken


def _answered(inputs: Inputs, tokens: np.ndarray) -> Inputs:
    """The prompts with their answers; padding behind an answer changes nothing before it."""
    ids = np.concatenate([inputs.input_ids, tokens], 1)
    mask = np.concatenate([inputs.attention_mask, np.ones_like(tokens, bool)], 1)
    return inputs._replace(input_ids=ids, attention_mask=mask)


def _inputs(model: Model, case: int, row: Question) -> Measured:
    found = {key(PROMPT, case): np.array(row.input_ids)}
    if row.images:
        seen = np.asarray(vit.normalise(np.stack(row.images)))
        found[key(PIXELS, case)] = seen.reshape(*seen.shape[:2], -1)  # a line of pixels each
        if model.config.model.qformer_sees_instruction:
            found[key(QFORMER_PROMPT, case)] = np.array(row.qformer_ids)
    return found


def _layers(model: Model) -> list[Place]:
    special = (PROMPT, QFORMER_PROMPT, PIXELS, LOG_PROBS, TOKENS)
    return [place for place in places(model.config.model) if place.name not in special]


def _in_order(towers: dict[str, list[np.ndarray]]) -> list[np.ndarray]:
    """The activations of `watch` in the order of `places`."""
    order = ("vision", "ln_vision", "qformer", "projector", "llm", "llm/norm", "logits")
    return [value for name in order for value in towers[name]]


def _part(
    place: Place, value: np.ndarray, case: int, row: Question, inputs: Inputs
) -> np.ndarray | None:
    """What belongs to one question, without padding: [T, D], or [I, T, D] of its images."""
    if place.tower == LLM:
        end = inputs.input_ids.shape[1]
        return value[case, end - len(row.input_ids) : end]
    if inputs.images is None or not row.images:
        return None
    each = inputs.images.shape[1]
    own = value[case * each : case * each + len(row.images)]
    if place.tower == QFORMER and inputs.qformer_input_ids is not None:
        padding = inputs.qformer_input_ids.shape[1] - len(row.qformer_ids)
        return own[:, : own.shape[1] - padding]
    return own


def _answer(
    case: int, tokens: np.ndarray, logits: Float32[np.ndarray, "N V"], placeholder: int
) -> Measured:
    """Log-probabilities among all tokens but the placeholder, which is never an answer."""
    logits = logits.astype(np.float64)
    logits[:, placeholder] = -np.inf
    best = logits.max(-1, keepdims=True)
    logprobs = logits - best - np.log(np.exp(logits - best).sum(-1, keepdims=True))
    top = np.sort(logprobs, -1)
    return {
        key(TOKENS, case): tokens,
        key(LOG_PROBS, case): np.take_along_axis(logprobs, tokens[:, None], 1)[:, 0],
        key(SPARE, case): top[:, -1] - top[:, -2],
    }
