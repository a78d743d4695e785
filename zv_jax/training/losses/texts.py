"""The language warm-up: text, and answers about images described in symbols."""

from __future__ import annotations

from jaxtyping import Key

from zv_jax.arrays import Array
from zv_jax.config.schema import Config
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.training.losses.kind import Batch, Loss, LossTerms, register
from zv_jax.training.losses.next_tokens import next_token_terms
from zv_jax.training.towers import TRAINED, Tower, language_model
from zv_jax.warmup.model import symbol_tokens


def text_terms(model: ZiyaVisual, batch: Batch, key: Key[Array, ""], config: Config) -> LossTerms:
    """Next-token loss of labelled tokens, with symbols in place of visual tokens."""
    del key
    return next_token_terms(model, symbol_tokens(model, batch["symbols"]), batch, config)


def _towers(config: Config) -> list[Tower]:
    return [language_model(config, TRAINED)]


register("texts", Loss(text_terms, _towers))
