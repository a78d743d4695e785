"""What evaluation asks of a model; `zv_jax.from_pretrained` returns one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from PIL import Image

from zv_jax.config import Config
from zv_jax.data.text.dialogue import Exchange

Prompt = str | tuple[Exchange, ...]
"""A question about all images given, or a dialogue whose last exchange is to be answered."""


class Ranking(Protocol):
    """The candidates of one prompt."""

    @property
    def best(self) -> int:
        """Index of the best."""
        ...


class Model(Protocol):
    """A loaded checkpoint. It may also offer ``attention_maps(images) -> float [N, Q, h, w]``."""

    config: Config

    @property
    def has_heads(self) -> bool:
        """Whether it embeds and matches."""
        ...

    def answer(
        self,
        prompts: Sequence[Prompt],
        images: Sequence[Sequence[Image.Image]],
        max_new_tokens: int,
        *,
        instructions: Sequence[str] | None = None,
        num_beams: int = 1,
        length_penalty: float = 1.0,
        min_new_tokens: int = 0,
    ) -> list[str]:
        """The texts that greedy decoding gives, or beam search with several beams; the Q-Former of
        Chat reads `instructions`."""
        ...

    def rank(
        self,
        prompts: Sequence[Prompt],
        choices: Sequence[Sequence[str]],
        images: Sequence[Sequence[Image.Image]],
        *,
        instructions: Sequence[str] | None = None,
    ) -> Sequence[Ranking]:
        """For each prompt the scores of its candidates; ``best`` is the index of the best."""
        ...

    def embed_images(self, images: Sequence[Image.Image]) -> np.ndarray:
        """float [N, Q, D], L2-normalised."""
        ...

    def embed_texts(self, texts: Sequence[str]) -> np.ndarray:
        """float [N, D], L2-normalised."""
        ...

    def match(self, images: Sequence[Image.Image], texts: Sequence[str]) -> np.ndarray:
        """float [N]: logit that image i and text i belong together."""
        ...
