"""The vision warm-up: describes every patch in the symbols that the language warm-up reads."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Key

from zv_jax.arrays import Array
from zv_jax.config.schema import Config
from zv_jax.models import flops
from zv_jax.training.losses.kind import Batch, Loss, LossTerms, register
from zv_jax.training.towers import PASSED, TRAINED, Tower, tower
from zv_jax.warmup.losses import multi_label_cross_entropy, relative_squared_error
from zv_jax.warmup.model import PatchDescriber, symbol_tokens
from zv_jax.warmup.symbols import PATCH_SYMBOLS


def patch_terms(
    model: PatchDescriber, batch: Batch, key: Key[Array, ""], config: Config
) -> LossTerms:
    """Losses of the symbols of patches, and of the words whose embeddings they sum."""
    del key, config
    symbols = batch["symbols"]
    said = model.describe_patches(batch["images"])
    # One side of each patch's box is enough for the words, at a quarter of the cost.
    rows = jnp.arange(symbols.shape[0])[:, None]
    patches = jnp.arange(symbols.shape[1] // PATCH_SYMBOLS)
    chosen = (patches * PATCH_SYMBOLS + (rows + patches) % PATCH_SYMBOLS)[..., None]
    logits = model.llm.embed.attend(jnp.take_along_axis(said, chosen, 1))
    return {
        "symbols": relative_squared_error(said, symbol_tokens(model, symbols)),
        "words": multi_label_cross_entropy(logits, jnp.take_along_axis(symbols, chosen, 1)),
    }


def _towers(config: Config) -> list[Tower]:
    """The ViT, symbols of each patch, and the words of one of its four."""
    v, m = config.model.vision, config.model.llm
    head = 2.0 * flops.patches(v) * v.width * PATCH_SYMBOLS * m.width
    words = 2.0 * flops.patches(v) * m.width * m.vocab_size
    return [
        tower(config, "vision", flops.vision(v), TRAINED),
        Tower("patch_head", head, 0, TRAINED),
        Tower("words", words, 0, PASSED),
    ]


register("patches", Loss(patch_terms, _towers, model=PatchDescriber))
