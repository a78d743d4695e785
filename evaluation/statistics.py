"""How sure a number is: bootstrap intervals of one run, the paired bootstrap of two.

Efron and Tibshirani, An Introduction to the Bootstrap (1993). Whole items are drawn again, with all
units they hold (the turns of a dialogue, the questions about one image), because units of one
item are not independent.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

RESAMPLES = 1000
_LEVELS = (2.5, 97.5)


@dataclass(frozen=True)
class Difference:
    """Second run minus first, on the same items.

    Attributes:
      first, second: the two means.
      value: their difference.
      low, high: its 95 % interval.
      p: two-sided bootstrap p-value of no difference.
      items: how many items both runs have.
    """

    first: float
    second: float
    value: float
    low: float
    high: float
    p: float
    items: int


def interval(values: np.ndarray, owners: np.ndarray, seed: int) -> tuple[float, float]:
    """95 % interval of the mean of ``values`` [N]; ``owners`` int [N] says whose item each is.

    Raises:
      ValueError: there is no value, or one is not finite.
    """
    _check(values)
    kinds, place = np.unique(owners, return_inverse=True)
    sums = np.bincount(place, values, len(kinds))
    sizes = np.bincount(place, minlength=len(kinds))
    rows = draws(len(kinds), seed)
    return middle(sums[rows].sum(1) / sizes[rows].sum(1))


def ratio_interval(
    groups: Sequence[tuple[np.ndarray, np.ndarray]], seed: int, scale: float = 100.0
) -> tuple[float, float]:
    """95 % interval of ``scale * mean(above) / mean(below)``, averaged over groups.

    Args:
      groups: for each group the pair (above, below), both [N] of the same items; the items of one
        group are drawn apart from those of another.
      seed: of the draws.

    Raises:
      ValueError: a group is empty, or a value is not finite.
    """
    for pair in groups:
        for values in pair:
            _check(values)
    drawn = np.zeros(RESAMPLES)
    for number, (above, below) in enumerate(groups):
        rows = draws(len(above), seed + number)
        drawn += scale * above[rows].sum(1) / below[rows].sum(1) / len(groups)
    return middle(drawn)


def middle(drawn: Sequence[float] | np.ndarray) -> tuple[float, float]:
    """Where the middle 95 % of the drawn values lie."""
    low, high = np.percentile(drawn, _LEVELS)
    return float(low), float(high)


def paired_difference(
    first: Mapping[str, Sequence[float]], second: Mapping[str, Sequence[float]], seed: int = 0
) -> Difference:
    """Compares two runs on the items both have.

    Each draw takes the same items in both runs, so that what makes an item easy or hard for both
    cancels out.

    Args:
      first, second: item id -> its values (one, or one for each unit).
      seed: of the draws.

    Raises:
      ValueError: no item is in both, or a value is not finite.
    """
    ids = sorted(first.keys() & second.keys())
    if not ids:
        raise ValueError("the two runs have no item in common")
    rows = draws(len(ids), seed)

    def means(of: Mapping[str, Sequence[float]]) -> tuple[float, np.ndarray]:
        _check(np.array([value for i in ids for value in of[i]], np.float64))
        sums = np.array([sum(of[i]) for i in ids])
        sizes = np.array([len(of[i]) for i in ids])
        return float(sums.sum() / sizes.sum()), sums[rows].sum(1) / sizes[rows].sum(1)

    (mean_a, drawn_a), (mean_b, drawn_b) = means(first), means(second)
    drawn = drawn_b - drawn_a
    low, high = middle(drawn)
    # One draw is added to each side: a p-value of 0 cannot be known from finitely many draws.
    tail = min((drawn <= 0).sum(), (drawn >= 0).sum()) + 1
    p = min(1.0, 2.0 * tail / (RESAMPLES + 1))
    return Difference(mean_a, mean_b, mean_b - mean_a, low, high, float(p), len(ids))


def _check(values: np.ndarray) -> None:
    """No interval is better than one of numbers that are none."""
    if not len(values) or not np.isfinite(values).all():
        raise ValueError(f"{len(values)} values, of which some are not finite numbers or none is")


def draws(items: int, seed: int) -> np.ndarray:
    """int [RESAMPLES, items]: which items each draw holds."""
    return np.random.default_rng(seed).integers(0, items, (RESAMPLES, items))
