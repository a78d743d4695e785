"""What every reader is: a generator of records, registered under the names of its data sets."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zv_jax.data.readers.columns import SPLITS, usual_split
from zv_jax.data.readers.files import Row, not_as_published
from zv_jax.data.readers.intake import Intake
from zv_jax.data.records.record import ImageRef, Record, Turn
from zv_jax.errors import DataError, unknown_name


@dataclass(frozen=True)
class Request:
    """What to read.

    Attributes:
      name: of the data set; a reader may serve several of one format.
      root: folder the files were unpacked to.
      split: the data set's own name of the split.
      columns: for tables of one's own, which column holds image, caption, question...
      ignore: for them too, columns to leave out on purpose.
      intake: what became of their rows; by default the first bad row is an error.
      overlaps: also read subsets that contain images or questions of the evaluations.
    """

    name: str
    root: Path
    split: str
    columns: Mapping[str, str | Sequence[str]] = field(default_factory=dict)
    ignore: Collection[str] = ()
    intake: Intake = field(default_factory=Intake)
    overlaps: bool = False

    def record(
        self,
        native: object,
        task: str,
        lang: str,
        images: Iterable[ImageRef],
        turns: Iterable[tuple[str, str]] = (),
        **other: Any,
    ) -> Record:
        """A record of this data set and split; `turns` are (role, text).

        `meta` entries that are None are left out.
        """
        meta = {k: v for k, v in other.pop("meta", {}).items() if v is not None}
        record = Record(
            id=f"{self.name}/{self.split}/{native}",
            source=self.name,
            split=self.split,
            task=task,
            lang=lang,
            images=tuple(images),
            turns=tuple(Turn(role, text) for role, text in turns),
            meta=meta,
            **other,
        )
        _check_kinds(record)
        return record

    def one_of(self, splits: Iterable[str]) -> str:
        """The split, if it is one of `splits`; else `DataError`."""
        splits = list(splits)
        if self.split not in splits:
            raise unknown_name(
                f"split of {self.name}",
                self.split,
                splits,
                str(self.root),
                fix="set --split",
                error=DataError,
            )
        return self.split

    def is_mine(self, path: Path) -> bool:
        """Whether a file or folder below the root is called after the split."""
        return usual_split(self.split) in self._splits_in(path)

    def is_anothers(self, path: Path) -> bool:
        """Whether it is called after other splits only."""
        return bool(self._splits_in(path)) and not self.is_mine(path)

    def _splits_in(self, path: Path) -> set[str]:
        """The splits that it is called after: train.json, val_2.csv, mine-dev.json, data/测试."""
        place = path.relative_to(self.root).with_suffix("").as_posix()
        words = re.split(r"[^a-z一-鿿]+", place.lower())
        return {usual_split(word) for word in words} & SPLITS.keys()

    def refuse_others(self, paths: Iterable[Path]) -> None:
        """Refuses files or folders below the root that are called after another split, as
        `train/` where `val` is asked for: their records would pass for those of this one.

        Raises:
          DataError: it names one.
        """
        for path in paths if self.split else ():
            if self.is_anothers(path):
                named = min(self._splits_in(path))
                raise DataError(
                    f"{self.name} has no split {self.split!r} here",
                    where=str(path),
                    expected=f"files called after it; this one is called after {named!r}",
                    fix=f"set --split={named}, or give the file itself as --root",
                )


def _check_kinds(record: Record) -> None:
    """`DataError` for a text or number of another kind; it would be written as it is."""
    wrong = [turn.text for turn in record.turns if not isinstance(turn.text, str)]
    for ref in record.images:
        places = (ref.path, ref.shard_key, ref.url)
        wrong += [place for place in places if place is not None and not isinstance(place, str)]
        sides = (ref.width, ref.height)
        wrong += [side for side in sides if side is not None and not isinstance(side, int)]
    index = record.answer_index
    if index is not None and (
        not isinstance(index, int) or not 0 <= index < len(record.choices or ())
    ):
        wrong.append(index)
    if wrong:
        raise not_as_published(record.id, f"{ascii(wrong[0]):.60} is of another kind than that")


Reader = Callable[[Request], Iterator[Record]]
READERS: dict[str, Reader] = {}


def reader(*names: str) -> Callable[[Reader], Reader]:
    """Registers a reader for the data sets `names`."""

    def register(function: Reader) -> Reader:
        READERS.update(dict.fromkeys(names, function))
        return function

    return register


def each(rows: Iterable[Row], make: Callable[[Row], Iterable[Record]]) -> Iterator[Record]:
    """The records `make` gives for each annotation.

    Raises:
      DataError: an annotation has other fields or types than published; it names where.
    """
    for row in rows:
        try:
            yield from make(row)
        except _FAULTS as error:
            raise _misread(row, error) from error


_FAULTS = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""What code that trusts the published layout raises where an annotation has another."""


def _misread(row: Row, error: Exception) -> DataError:
    return not_as_published(row.where, f"{type(error).__name__}: {error}"[:300])


def by_key(rows: Iterable[Row], make: Callable[[Row], tuple[Any, Any]]) -> dict[Any, Any]:
    """{key: value} of the pairs `make` gives, the last one of a key; errors as of `each`."""
    return dict(_pairs(rows, make))


def grouped(rows: Iterable[Row], make: Callable[[Row], tuple[Any, Any]]) -> dict[Any, list[Any]]:
    """{key: values} of the pairs `make` gives, in order; errors as of `each`."""
    found: dict[Any, list[Any]] = {}
    for key, value in _pairs(rows, make):
        found.setdefault(key, []).append(value)
    return found


def _pairs(
    rows: Iterable[Row], make: Callable[[Row], tuple[Any, Any]]
) -> Iterator[tuple[Any, Any]]:
    for row in rows:
        try:
            pair = make(row)
            hash(pair[0])
        except _FAULTS as error:
            raise _misread(row, error) from error
        yield pair


def user(text: str) -> tuple[str, str]:
    """A turn of the user."""
    return "user", text


def assistant(text: str) -> tuple[str, str]:
    """A turn of the assistant."""
    return "assistant", text


def texts(values: Iterable[Any]) -> tuple[str, ...] | None:
    """The texts that are not blank, stripped, with white space of any length as one blank; None if
    there is none."""
    kept = (" ".join(str(value).split()) for value in values)
    return tuple(value for value in kept if value) or None
