"""The model of the warm-ups: `ZiyaVisual`, with a head that says what each patch shows."""

from __future__ import annotations

import jax.numpy as jnp

from zv_jax.arrays import Array
from zv_jax.models.layers import Linear
from zv_jax.models.ziya_visual import ZiyaVisual
from zv_jax.warmup.symbols import PATCH_SYMBOLS


class PatchDescriber(ZiyaVisual):
    """A `ZiyaVisual` whose ViT writes symbols; the head is left behind when the warm-up is over."""

    def setup(self) -> None:
        super().setup()
        cfg = self.cfg
        self.patch_head = Linear(
            PATCH_SYMBOLS * cfg.llm.width,
            ("embed", "embed_out"),
            dtype=jnp.dtype(cfg.dtype),
            param_dtype=jnp.dtype(cfg.param_dtype),
        )

    def describe_patches(self, images: Array) -> Array:
        """Images [B, H, W, 3] -> four symbols for each of their patches.

        Returns:
            [B, P * 4, D of the LLM], patches row by row.
        """
        features = self.encode_images(images)
        patches = features if self.cfg.vision.drop_cls else features[:, 1:]
        return self.patch_head(patches).reshape(images.shape[0], -1, self.cfg.llm.width)


def symbol_tokens(model: ZiyaVisual, symbols: Array) -> Array:
    """Images in symbols, in the place of visual tokens.

    Each symbol is the sum of its tokens' embeddings. The language model so learns to read vectors
    that hold several words each, which is what the Q-Former can write.

    Args:
        model: bound.
        symbols: int [B, N, K], K tokens of one symbol in any order; -1 where no token is.

    Returns:
        [B, N, D of the LLM]; zeros where a symbol has no token.
    """
    words = model.llm.embed(jnp.maximum(symbols, 0))
    return (words * (symbols >= 0)[..., None]).sum(-2)
