"""Which settings are compiled, and in which order: no compiler, no device, only their answers.

The settings come in the order of their calculated time, and the first few that fit are wanted.
A compiler needs minutes for a large model, so what is known already is used:

- A setting that is calculated to be slower than enough fitting ones is not compiled.
- Where k x m microbatches are too large, m are too large under the same recomputation. Both run one
  loop over parts of the batch, with the same sums beside it, and the parts of m hold k times the
  rows. One microbatch has no loop and no sums: it is never judged by another setting.
- Nothing follows from one way of recomputation for another. A way that keeps less computes a layer
  again in the backward pass and holds all of it meanwhile: with few layers that can take more.

The second rule only saves compilations. What is found to fit has always been compiled itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Setting:
    """What a candidate changes in a recipe: `train.microbatches` and `model.remat`."""

    microbatches: int
    remat: str

    def __str__(self) -> str:
        return f"microbatches={self.microbatches} remat={self.remat}"


@dataclass(frozen=True)
class Outcome:
    """What is known of a setting that was tried.

    Attributes:
        need: bytes on one device; None where it could not be compiled.
        too_large: whether it needs more than there is. It fits where this is false and `why` empty.
        why: it is left out; empty where it is not.
        seconds: of a step, from the compiled program; None where that tells nothing.
    """

    need: float | None
    too_large: bool = False
    why: str = ""
    seconds: float | None = None

    @property
    def fits(self) -> bool:
        """Whether it may be proposed."""
        return not self.too_large and not self.why


Tried = dict[Setting, Outcome]


def fitting(
    order: Sequence[Setting],
    attempt: Callable[[Setting], Outcome],
    guessed_too_large: Callable[[Setting], bool],
    tried: Tried,
    wanted: int = 3,
) -> list[Setting]:
    """The first `wanted` settings of `order` that fit, or all that do.

    Args:
        order: the best first.
        attempt: compiles one.
        guessed_too_large: a guess; it decides what is compiled first, never what fits.
        tried: outcomes so far; those of this search are added.
    """
    while undecided := _undecided(order, tried, wanted):
        setting = _next(undecided, tried, guessed_too_large)
        tried[setting] = attempt(setting)
    return _first(order, tried, wanted)


def too_large_already(setting: Setting, tried: Mapping[Setting, Outcome]) -> Setting | None:
    """A setting that was found too large, and for which `setting` must be so, too."""
    found = (other for other in tried if tried[other].too_large and _shares_loop(setting, other))
    return next(found, None)


def _shares_loop(setting: Setting, other: Setting) -> bool:
    """Whether the parts of `other` are those of `setting`, cut further."""
    few, many = setting.microbatches, other.microbatches
    return setting.remat == other.remat and 1 < few < many and many % few == 0


def _first(order: Sequence[Setting], tried: Tried, wanted: int) -> list[Setting]:
    return [setting for setting in order if setting in tried and tried[setting].fits][:wanted]


def _undecided(order: Sequence[Setting], tried: Tried, wanted: int) -> list[Setting]:
    """Settings that could still be among the first that fit."""
    first = _first(order, tried, wanted)
    before = order.index(first[-1]) if len(first) == wanted else len(order)
    return [s for s in order[:before] if s not in tried and not too_large_already(s, tried)]


def _next(
    undecided: Sequence[Setting], tried: Tried, guessed_too_large: Callable[[Setting], bool]
) -> Setting:
    """The best one; where it is guessed not to fit, one with more microbatches that may show it.

    That is the middle of those between it and the first known to fit, so that a long row takes
    few compilations.
    """
    best = undecided[0]
    if not guessed_too_large(best):
        return best
    fits = [s.microbatches for s in tried if tried[s].fits and _shares_loop(best, s)]
    row = sorted(
        s
        for s in undecided
        if s == best
        or (_shares_loop(best, s) and s.microbatches < min(fits, default=s.microbatches + 1))
    )
    return row[len(row) // 2]
