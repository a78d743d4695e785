"""The questions of a certificate: two languages, none, one and three images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt8

NEW_TOKENS = 32
_SEED = 21


@dataclass(frozen=True)
class Case:
    """One question without history.

    Attributes:
        lang: "en" or "zh".
        images: numbers of the images it shows, in order.
    """

    lang: str
    question: str
    images: tuple[int, ...] = ()


CASES = (
    Case("en", "Who painted the ceiling of the chapel, and when?"),
    Case("en", "What is in the image?", (0,)),
    Case("en", "What is different between these three images?", (0, 1, 2)),
    Case("zh", "长城有多长？"),
    Case("zh", "图里有什么？", (1,)),
    Case("zh", "请用一句话描述这三张图片。", (2, 0, 1)),
)


def images(size: int) -> UInt8[np.ndarray, "3 {size} {size} 3"]:
    """Three images of noise: no patch looks the same when it is turned, mirrored or moved. They
    have the size of the model, since libraries resize with small differences of their own."""
    rng = np.random.default_rng(_SEED)
    return rng.integers(0, 256, (3, size, size, 3), np.uint8)
