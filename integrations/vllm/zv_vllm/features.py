"""What the image encoder gave for the images that were seen last.

vLLM keeps the visual tokens of an image by its hash, which the question is part of: for a new
question about an old image it computes them anew. Of this, only the Q-Former depends on the question.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import torch

KEPT = 64  # images; in bfloat16 and at 224 pixels each takes 0.7 MiB


class Features:
    """Features of at most `kept` images; those used least recently go first."""

    def __init__(self, kept: int = KEPT):
        self.kept = kept
        self._held: OrderedDict[bytes, torch.Tensor] = OrderedDict()

    def of(
        self,
        keys: Sequence[bytes],
        pixels: torch.Tensor,
        encode: Callable[[torch.Tensor], torch.Tensor],
    ) -> torch.Tensor:
        """The features [N, P, D] of `pixels` [N, 3, H, W], whose hashes are `keys`.

        `encode` computes those of the images that are not held, each of them once.
        """
        first = {key: i for i, key in reversed(list(enumerate(keys)))}
        new = sorted(i for key, i in first.items() if key not in self._held)
        found = {key: self._held[key] for key in first if key in self._held}
        if new:
            # A tensor of its own for each image: a view would hold all of the batch.
            found |= {keys[i]: row.clone() for i, row in zip(new, encode(pixels[new]), strict=True)}
        for key in first:
            self._held[key] = found[key]
            self._held.move_to_end(key)
        while len(self._held) > self.kept:
            self._held.popitem(last=False)
        return torch.stack([found[key] for key in keys])
