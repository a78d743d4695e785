"""Embeddings for a vocabulary that has grown: old rows stay, new ones get a start.

A new piece of the language model starts as the mean of the pieces that spelled it before, so that
the model knows what it was. A new character of a BERT Q-Former was [UNK] before, as all others
were; it starts near the mean of the table, where no two are equal.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from zv_jax.config import Config
from zv_jax.config.build import to_dict, validate
from zv_jax.convert import stream, workdir
from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.convert.stream import Leaf
from zv_jax.convert.tokenizer_json import SPACE
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConversionError

SPARE = 2  # ids behind the pieces: padding and the image placeholder, as in Ziya-Visual
_NOISE = 0.02  # as BERT starts its embeddings
_LLM = {"params/llm/embed/embedding": 0, "params/llm/lm_head/kernel": 1}
_QFORMER = {"params/qformer/word/embedding": 0, "params/qformer/text_head/bias": 0}

Rows = Callable[[np.ndarray], np.ndarray]  # the old rows [V, ...] -> the grown table


def grow(
    model: OwnCheckpoint,
    dst: str | Path,
    tokenizer: Tokenizer | None = None,
    qformer_tokenizer: Tokenizer | None = None,
    multiple: int = 128,
) -> Config:
    """Writes `model` with the rows that larger vocabularies need as a new workdir `dst`.

    Args:
        tokenizer: of the language model, or None to leave it as it is. Its table gets room for
            `SPARE` more ids, the last of which becomes the image placeholder, and a size that is a
            multiple of `multiple`, which devices share more easily.
        qformer_tokenizer: of the Q-Former, or None.

    Returns:
        the configuration of the new model.

    Raises:
        ConversionError: a vocabulary is not the old one with pieces behind it, or the model has no
            such tower.
    """
    config, both = model.config.model, list(model.tokenizers)
    changed: dict[str, tuple[int, int, Rows]] = {}  # axis of the rows, their number, the table
    if tokenizer is not None:
        _check(model, both[0], tokenizer, "llm")
        image = tokenizer.vocab_size + SPARE - 1
        size = max(config.llm.vocab_size, -(-(image + 1) // multiple) * multiple)
        rows = _means(both[0], tokenizer, size)
        changed |= {path: (axis, size, rows) for path, axis in _LLM.items() if path in model.specs}
        config = replace(config, llm=replace(config.llm, vocab_size=size), image_token_id=image)
        both[0] = tokenizer
    if qformer_tokenizer is not None:
        _check(model, both[1], qformer_tokenizer, "qformer")
        size = max(config.qformer.vocab_size, qformer_tokenizer.vocab_size)
        start = _noisy if both[1].kind == "bert" else _means
        rows = start(both[1], qformer_tokenizer, size)
        changed |= {p: (axis, size, rows) for p, axis in _QFORMER.items() if p in model.specs}
        config = replace(config, qformer=replace(config.qformer, vocab_size=size))
        both[1] = qformer_tokenizer
    run = validate(to_dict(replace(model.config, model=config)))
    leaves = workdir.stored(model)
    for path, (axis, size, rows) in changed.items():
        leaves[path] = _grown(leaves[path], axis, size, rows)
    with stream.building(dst) as folder:
        workdir.write(folder, run, leaves, (both[0], both[1]), model.provenance)
    return run


def _grown(leaf: Leaf, axis: int, size: int, rows: Rows) -> Leaf:
    def read() -> np.ndarray:
        old = np.moveaxis(leaf.value(), axis, 0)
        return np.moveaxis(rows(old).astype(old.dtype), 0, axis)

    shape = tuple(size if i == axis else n for i, n in enumerate(leaf.shape))
    return replace(leaf, shape=shape, pieces=(read,))


def _check(model: OwnCheckpoint, old: Tokenizer | None, new: Tokenizer, tower: str) -> None:
    if not any(path.startswith(f"params/{tower}/") for path in model.specs):
        raise ConversionError(
            f"the model has no {tower}",
            where=model.where,
            expected=f"a checkpoint with parameters below {tower}/",
            fix="give the checkpoint of another stage, or leave this tokenizer out",
        )
    if old is None:
        raise ConversionError(
            f"the tokenizer that the {tower} was trained with is not known",
            where=model.where,
            expected="the folders tokenizer and qformer_tokenizer beside the checkpoint",
            fix="convert it again with --tokenizer or --qformer-tokenizer",
        )
    for i in range(old.vocab_size):
        if i >= new.vocab_size or old.piece(i) != new.piece(i):
            found = repr(new.piece(i)) if i < new.vocab_size else "nothing"
            raise ConversionError(
                f"id {i} is {old.piece(i)!r} in the old vocabulary and {found} in the new one",
                where=new.where,
                expected="the old vocabulary with new pieces behind it",
                fix="make it with zv tokenizer extend or union, from the old one",
            )


def _means(old: Tokenizer, new: Tokenizer, size: int) -> Rows:
    """Each new piece is the mean of how `old` spells it; rows without a piece, of all rows."""

    def spelled(token: int) -> list[int]:
        ids = old.encode(new.decode([token]))
        # SentencePiece puts a space before every text, which need not belong to the piece.
        spare = ids and old.piece(ids[0]) == SPACE and not new.piece(token).startswith(SPACE)
        return ids[1:] if spare else ids

    def rows(table: np.ndarray) -> np.ndarray:
        known = table[: old.vocab_size]
        wide = known.astype(np.float32)
        words = [spelled(i) for i in range(old.vocab_size, new.vocab_size)]
        words += [[]] * (size - new.vocab_size)
        mean = wide.mean(0)
        fresh = [wide[ids].mean(0) if ids else mean for ids in words]
        return np.concatenate([known, np.array(fresh, known.dtype).reshape(-1, *known.shape[1:])])

    return rows


def _noisy(old: Tokenizer, new: Tokenizer, size: int) -> Rows:
    """New rows lie around the mean; new numbers, such as biases, are 0."""
    del new

    def rows(table: np.ndarray) -> np.ndarray:
        known = table[: old.vocab_size]
        shape = (size - len(known), *known.shape[1:])
        fresh = np.zeros(shape, np.float32)
        if known.ndim > 1:
            noise = np.random.default_rng(0).standard_normal(shape, np.float32)
            fresh = known.astype(np.float32).mean(0) + _NOISE * noise
        return np.concatenate([known, fresh.astype(known.dtype)])

    return rows
