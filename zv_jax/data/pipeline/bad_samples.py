"""Samples that cannot be used: counted by source and reported, never lost without a word.

Another sample takes the place of each, the same one on every machine and with any number of
workers, so the batch of a step stays a function of the step. Too many bad ones stop the run. A
sample that is only too long is no fault of the data: it is replaced alike, and counted apart, as
are the parts of dialogues that do not fit.
"""

from __future__ import annotations

import collections
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass

from zv_jax.errors import DataError

_BEFORE_JUDGING = 10  # bad samples of a source; the first few say nothing about a rate

TOO_LONG, LEFT_OUT, CUT = "too_long", "left_out", "cut"
SHORTENED: dict[str, str] = {
    TOO_LONG: "samples too long and replaced",
    LEFT_OUT: "exchanges left out",
    CUT: "answers cut",
}
"""What length did, in words: nothing of a sample fits, an exchange of it does not, or only the
beginning of an answer is learned."""

Shortened = Mapping[tuple[str, str], int]
"""How often, by source and one of `SHORTENED`."""


@dataclass(frozen=True)
class BadSample:
    """One sample that could not be used.

    Attributes:
      source: its label (`pipeline.Drawn`); `record`: its id, or its place where it has none.
      what, where: the error. `instead`: the id of the record used in its place, if one was.
    """

    source: str
    record: str
    what: str
    where: str
    instead: str | None = None

    def as_row(self) -> dict[str, str | None]:
        """JSON types."""
        return asdict(self)


class BadSampleCounter:
    """Counts what was tried and what was bad, in the order of the batches."""

    def __init__(
        self,
        limit: float,
        report: Callable[[int, BadSample], None],
        shorten: Callable[[int, Shortened], None],
    ):
        """`limit`: the share of bad samples a source may have; `report(step, fault)`: each one;
        `shorten(step, counts)`: what length did to a batch, where it did anything."""
        self.tried: collections.Counter[str] = collections.Counter()
        self.bad: collections.Counter[str] = collections.Counter()
        self._limit, self.report, self._shorten = limit, report, shorten

    def add(
        self, step: int, tried: Mapping[str, int], faults: Sequence[BadSample], shortened: Shortened
    ) -> None:
        """Takes in batch `step`; `tried` counts the samples that are used or bad.

        Raises:
          DataError: a source has more bad samples than the limit allows.
        """
        self.tried.update(tried)
        if shortened:
            self._shorten(step, shortened)
        for fault in faults:
            self.bad[fault.source] += 1
            self.report(step, fault)
        for fault in faults:
            bad, seen = self.bad[fault.source], self.tried[fault.source]
            if bad > _BEFORE_JUDGING and bad > self._limit * seen:
                raise too_many(f"{bad} of {seen}", self._limit, fault)


def too_many(share: str, limit: float, last: BadSample) -> DataError:
    """The error that ends a run; `share` as "11 of 40"."""
    return DataError(
        f"{share} samples of {last.source} cannot be used; the last: {last.what}",
        where=f"{last.record}: {last.where}",
        expected=f"at most {limit:.2%}",
        fix="check the paths of the source and mend its files, or allow more: "
        "--config.data.max_bad=...",
    )
