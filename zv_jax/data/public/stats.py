"""What a copy of a data set holds, beside what its authors published."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from zv_jax.data.public import catalogue
from zv_jax.data.readers.files import MissingFile
from zv_jax.data.records.record import Record
from zv_jax.errors import DataError


@dataclass(frozen=True)
class Count:
    """One number of a split: what is counted, what was found and what was published (or None)."""

    split: str
    what: str
    found: int
    published: int | None

    @property
    def verdict(self) -> str:
        """`as published`, `N less`, `N more`, or `no published count`."""
        if self.published is None:
            return "no published count"
        difference = self.found - self.published
        if not difference:
            return "as published"
        return f"{abs(difference):,} {'more' if difference > 0 else 'less'} than published"


def by_task(records: Iterable[Record]) -> dict[tuple[str, str, str], int]:
    """Records by (split, task, language)."""
    return dict(collections.Counter((r.split, r.task, r.lang) for r in records))


def compare(name: str, root: str | Path, splits: Iterable[str] = ()) -> Iterator[Count]:
    """Counts of the splits of a local copy; those whose files are not there are left out, unless
    they are asked for by name.

    Raises:
      DataError: files are not as published, or none of the splits is there.
    """
    card, found = catalogue.card(name), False
    splits = list(splits)
    for split in splits or list(card.splits):
        about = card.splits.get(split, catalogue.Split("train"))
        units = texts = records = 0
        images = set()
        try:
            for record in catalogue.read(name, root, split):
                records += 1
                units += record.id.endswith(card.counted)
                texts += len(record.answers or ())
                images.update(hash(ref) for ref in record.images)
        except MissingFile:
            if splits or records:
                raise
            continue
        found = True
        yield Count(split, "records", records, about.records if not card.counted else None)
        if card.counted:
            yield Count(split, f"records ending in {card.counted}", units, about.records)
        yield Count(split, "pictures", len(images), None)
        if texts:
            yield Count(split, "texts", texts, about.texts)
    if not found:
        raise DataError(
            f"no split of {name} is here",
            where=str(root),
            expected="; ".join(card.files),
            fix=f"zv data list {name}",
        )
