"""Ranking: how probable is each of the given answers (paper section 4.1)?

The images are encoded once and the prompt is read once; one more pass reads all candidates of a
row, each attending to the prompt and itself only. `</s>` is scored too, as in training: without it
a candidate would always beat the longer ones that it begins.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Float32, Int, Int32

from zv_jax.arrays import Array
from zv_jax.errors import ConfigError, DataError, unknown_name
from zv_jax.inference import prompts as prompts_lib
from zv_jax.inference.inputs import Inputs
from zv_jax.inference.program import prefill
from zv_jax.inference.prompts import Question
from zv_jax.models.llama import Cache, empty_cache
from zv_jax.models.presets import ModelConfig
from zv_jax.models.vit import MEAN
from zv_jax.models.ziya_visual import ZiyaVisual

NORMS = ("sum", "token_mean", "char", "pmi")
CHUNK = 32  # candidates of one row in one pass
TIE = 1e-5  # closer scores are equal: the place of a candidate in a batch changes them by less


@dataclass(frozen=True)
class Ranking:
    """The candidates of one prompt.

    Attributes:
      scores: in the order given; larger is better.
      best: index of the best candidate; the first of equal ones.
      margin: its lead over the next; infinite for a single candidate.
    """

    scores: Float[np.ndarray, " C"]
    best: int
    margin: float

    @property
    def probabilities(self) -> Float[np.ndarray, " C"]:
        """The scores as a distribution over the candidates."""
        shifted = np.exp(self.scores - self.scores.max())
        return shifted / shifted.sum()


def ranking(scores: Float[np.ndarray, " C"]) -> Ranking:
    """The ranking by scores."""
    order = np.sort(scores)[::-1]
    margin = float(order[0] - order[1]) if len(order) > 1 else float("inf")
    return Ranking(scores, int(np.argmax(scores >= order[0] - TIE)), margin)


def check(choices: Sequence[Sequence[str]], norm: str) -> None:
    """Refuses an unknown norm and rows without a candidate.

    Raises:
      ConfigError, DataError: names what is wrong.
    """
    if norm not in NORMS:
        raise unknown_name("norm", norm, NORMS, "norm")
    for row, texts in enumerate(choices):
        if isinstance(texts, str) or not texts or not all(t.strip() for t in texts):
            raise DataError(
                f"no list of candidates: {texts!r:.60}",
                where=f"choices of prompt {row}",
                expected="at least one text that is not empty",
            )


def normalise(
    sums: Float[np.ndarray, " C"],
    lengths: Float[np.ndarray, " C"],
    texts: Sequence[str],
    norm: str,
    blind: Float[np.ndarray, " C"] | None,
) -> Float[np.ndarray, " C"]:
    """Scores of one row from sums of log-probabilities and numbers of tokens.

    `sum`: the probability of the text; `token_mean`: per token, with `</s>`; `char`: per character;
    `pmi`: minus the sum `blind` of the same text without the image.
    """
    if norm == "token_mean":
        return sums / lengths
    if norm == "char":
        return sums / np.array([len(text.strip()) for text in texts], np.float32)
    return sums - blind if norm == "pmi" else sums


def candidate_arrays(
    rows: Sequence[Sequence[Sequence[int]]], pad_id: int
) -> tuple[Int32[np.ndarray, "B C T"], Bool[np.ndarray, "B C T"]]:
    """Ids and mask of the candidates, C and T rounded up so that few shapes are compiled.

    C is a multiple of the chunk that `score` takes at once; missing candidates are all padding.
    """
    width = prompts_lib.bucket(max(len(ids) for row in rows for ids in row))
    count = prompts_lib.bucket(max(map(len, rows)))
    count = -(-count // chunk_of(count)) * chunk_of(count)
    ids = np.full((len(rows), count, width), pad_id, np.int32)
    mask = np.zeros((len(rows), count, width), bool)
    for r, row in enumerate(rows):
        for c, candidate in enumerate(row):
            ids[r, c, : len(candidate)], mask[r, c, : len(candidate)] = candidate, True
    return ids, mask


def chunk_of(count: int) -> int:
    """How many of `count` candidates one pass takes."""
    return min(count, CHUNK)


@functools.partial(jax.jit, static_argnames=("cfg", "chunk"))
def score(
    variables: dict,
    inputs: Inputs,
    candidates: Int[Array, "B C T"],
    candidate_mask: Bool[Array, "B C T"],
    *,
    cfg: ModelConfig,
    chunk: int,
) -> Float32[Array, "B C"]:
    """Log-probability of every candidate after its row's prompt, summed over its tokens.

    Args:
        variables, inputs: as in `sample.generate`.
        candidates: `</s>` last, then padding.
        candidate_mask: False at padding.
        cfg: the architecture.
        chunk: candidates in one pass; it divides C and limits the memory, and changes no score.
    """
    batch, count, width = candidates.shape
    model = ZiyaVisual(cfg)
    read = prefill(variables, inputs, cfg=cfg)
    cache = empty_cache(read.prompt, read.seen, chunk, width)
    first = jax.nn.log_softmax(read.logits)
    place = jnp.arange(width)
    own = (place[None] <= place[:, None])[None]
    positions = jnp.repeat(read.lengths, chunk)[:, None] + place

    def one_pass(part: tuple[Array, Array]) -> Float32[Array, "B chunk"]:
        ids, mask = part  # [B, chunk, T]
        hidden = model.apply(
            variables, ids.reshape(-1, width), positions, own, cache, method=_read
        ).reshape(batch, chunk, width, -1)
        start = jnp.take_along_axis(first, ids[:, :, 0], 1) * mask[:, :, 0]
        # One place of all candidates at a time: for a large V the logits of all would not fit.
        targets = (hidden[:, :, :-1].swapaxes(0, 2), ids[:, :, 1:].swapaxes(0, 2))

        def at_place(target: tuple[Array, Array]) -> Float32[Array, "chunk B"]:
            states, wanted = target  # [chunk, B, D], [chunk, B]
            logp = jax.nn.log_softmax(model.apply(variables, states, method=_logits))
            return jnp.take_along_axis(logp, wanted[..., None], -1)[..., 0]

        rest = jax.lax.map(at_place, targets)  # [T - 1, chunk, B]
        return start + (rest.transpose(2, 1, 0) * mask[:, :, 1:]).sum(-1)

    parts = [
        x.reshape(batch, count // chunk, chunk, width).swapaxes(0, 1)
        for x in (candidates, candidate_mask)
    ]
    sums = jax.lax.map(one_pass, tuple(parts))  # [C / chunk, B, chunk]
    return sums.swapaxes(0, 1).reshape(batch, count)


def _read(
    model: ZiyaVisual,
    ids: Int[Array, "BC T"],
    positions: Int[Array, "BC T"],
    own: Bool[Array, "1 T T"],
    cache: Cache,
) -> Float[Array, "BC T D"]:
    return model.llm.read_on(model.llm.embed(ids), positions, own, cache, 0)[0]


def _logits(model: ZiyaVisual, hidden: Float[Array, "*B D"]) -> Float32[Array, "*B V"]:
    return model.llm.logits(hidden).astype(jnp.float32)


def blinded(questions: Sequence[Question], size: int) -> list[Question]:
    """The same prompts with plain grey images.

    Raises:
      ConfigError: a prompt has no image to leave out.
    """
    from PIL import Image

    grey = Image.new("RGB", (size, size), tuple(round(255 * mean) for mean in MEAN))
    if not all(question.images for question in questions):
        raise ConfigError(
            "the norm pmi compares with the same prompt without images, and a prompt has none",
            where="norm",
            expected="images with every prompt, or the norm sum",
        )
    return [Question(q.input_ids, (grey,) * len(q.images), q.qformer_ids) for q in questions]
