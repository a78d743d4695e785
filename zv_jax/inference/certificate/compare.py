"""What two sides measured, held side by side, and the first place where they differ."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from zv_jax.inference.certificate.cases import CASES
from zv_jax.inference.certificate.measure import SPARE, Measured, key
from zv_jax.inference.certificate.places import (
    ANSWERS,
    LOG_PROBS,
    PIXELS,
    PROMPT,
    QFORMER_PROMPT,
    TOKENS,
    Place,
    place_of,
)
from zv_jax.inference.certificate.weights import Tensor

WEIGHTS, FEATURES = "weights", "features"


@dataclass(frozen=True)
class Tolerance:
    """How much two right programs may differ that compute in one dtype.

    Attributes:
        features: of the vector of a token, as a part of its length.
        log_probs: of a token.
    """

    features: float
    log_probs: float


# Eight times or more what JAX and PyTorch differ by on the trained quickstart (docs/convert.md),
# since rounding grows with depth and width. Logits are of the order of 10, so log-probabilities
# differ by more.
TOLERANCES = {
    "float32": Tolerance(1e-4, 5e-4),
    "float16": Tolerance(2e-2, 1e-1),
    "bfloat16": Tolerance(1e-1, 5e-1),
}
_PIXELS = TOLERANCES["float32"].features  # they are prepared in float32 everywhere


@dataclass(frozen=True)
class Line:
    """One thing at one place.

    Attributes:
        what: "weights", "features", or for inputs and answers the name of the place.
        difference: of weights in roundings (`weights.differences`), of features and pixels as a
            part of the length of a vector, of log-probabilities itself; else how many questions
            differ.
        limit: the largest difference of two that agree.
        tensor: of the weights that differ most.
    """

    place: Place
    what: str
    difference: float
    limit: float
    tensor: str | None = None

    @property
    def agrees(self) -> bool:
        """Whether the difference is within the limit; a NaN is not."""
        return self.difference <= self.limit


def first_difference(lines: Iterable[Line], places: Sequence[Place]) -> Line | None:
    """The line that differs at the first place of the computation, weights before features."""
    wrong = [line for line in lines if not line.agrees]
    return min(wrong, key=lambda x: (places.index(x.place), x.what != WEIGHTS), default=None)


def of_weights(tensors: Iterable[Tensor], places: Sequence[Place]) -> list[Line]:
    """One line for each layer: its tensor that differs most."""
    worst: dict[Place, Line] = {}
    for tensor in tensors:
        place = place_of(tensor.name, places)
        line = Line(place, WEIGHTS, tensor.difference, tensor.limit, tensor.name)
        worst[place] = max(worst.get(place, line), line, key=lambda x: (not x.agrees, x.difference))
    return list(worst.values())


def of_measurements(
    right: Measured, given: Measured, tolerance: Tolerance, places: Sequence[Place]
) -> tuple[list[Line], int]:
    """A line for each place that `right` and `given` share, and the number of ties among answers.

    Where `given` lacks a question that `right` has, the line is infinitely different.
    """
    lines = []
    held = {name.rsplit("/", 1)[0] for name in given}
    for place in places:
        if place.name not in held or place.tower == ANSWERS:
            continue
        pairs = [
            (right[name], given.get(name))
            for name in (key(place.name, case) for case in range(len(CASES)))
            if name in right
        ]
        if place.name in (PROMPT, QFORMER_PROMPT):
            lines.append(Line(place, place.name, sum(not _same(*pair) for pair in pairs), 0))
            continue
        most = _most(vectors(*pair) for pair in pairs)
        pixels = place.name == PIXELS
        limit = _PIXELS if pixels else tolerance.features
        lines.append(Line(place, PIXELS if pixels else FEATURES, most, limit))
    answers = [place for place in places if place.tower == ANSWERS]
    found = [_answer(right, given, case, tolerance.log_probs) for case in range(len(CASES))]
    off, differ, tied = zip(*found, strict=True)
    limits = {LOG_PROBS: (_most(off), tolerance.log_probs), TOKENS: (sum(differ), 0)}
    lines += [Line(place, place.name, *limits[place.name]) for place in answers]
    return lines, sum(tied)


def _most(values: Iterable[float]) -> float:
    """The largest; NaN if one is."""
    return float(np.max(list(values)))


def _same(right: np.ndarray, given: np.ndarray | None) -> bool:
    return given is not None and np.array_equal(right, given)


def vectors(right: np.ndarray, given: np.ndarray | None) -> float:
    """The largest difference of two vectors [..., width] at one place, as a part of the length of
    the right one. An outlier among the tokens or the widths hides nothing in other tokens."""
    if given is None or right.shape != given.shape:
        return float("inf")
    off = np.linalg.norm(given.astype(np.float64) - right, axis=-1)
    size = np.linalg.norm(right.astype(np.float64), axis=-1)
    return float((off / np.maximum(size, np.finfo(np.float32).tiny)).max())


def _answer(
    right: Measured, given: Measured, case: int, tolerance: float
) -> tuple[float, bool, bool]:
    """The largest difference of log-probabilities of the tokens that agree, whether the tokens
    differ, and whether they do after a tie.

    Two tokens that are as probable as each other within the tolerance may change places; what
    follows is another answer and is not compared.
    """
    mine, theirs = right[key(TOKENS, case)], given.get(key(TOKENS, case))
    if theirs is None:
        return float("inf"), True, False
    both = min(len(mine), len(theirs))
    unequal = np.flatnonzero(mine[:both] != theirs[:both])
    same = int(unequal[0]) if len(unequal) else both
    off = right[key(LOG_PROBS, case)][:same] - given[key(LOG_PROBS, case)][:same]
    most = float(np.abs(off).max()) if same else 0.0
    if same == len(mine) == len(theirs):
        return most, False, False
    tied = same < len(mine) and right[key(SPARE, case)][same] <= 2 * tolerance
    return most, not tied, bool(tied)
