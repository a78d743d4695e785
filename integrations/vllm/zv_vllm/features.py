"""What the image encoder gave for the images that were seen last.

vLLM keeps the visual tokens of an image by its hash, which the question is part of: for a new
question about an old image it computes them anew, though only the Q-Former reads the question.
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
        once = list(dict.fromkeys(keys))
        found = {key: self._held[key] for key in once if key in self._held}
        new = [key for key in once if key not in found]
        if new:
            rows = encode(pixels[[keys.index(key) for key in new]])
            # A tensor of its own for each image: a view would hold all of the batch.
            found |= {key: row.clone() for key, row in zip(new, rows, strict=True)}
        for key in once:
            self._held[key] = found[key]
            self._held.move_to_end(key)
        while len(self._held) > self.kept:
            self._held.popitem(last=False)
        return torch.stack([found[key] for key in keys])
