"""All data sets by name: their cards, and their records through one door with the split guard."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path

import yaml

from zv_jax.data.public import guard as guard_lib
from zv_jax.data.readers import cards
from zv_jax.data.readers.base import READERS, Request
from zv_jax.data.readers.intake import Intake
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import Record
from zv_jax.errors import DataError, unknown_name

_MODULES = (
    *("captions", "columnar", "grounding", "llava", "m3it", "custom", "pairs", "stamps"),
    *("vqa", "zero"),
)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Split:
    """`use` is train or eval; `records` and `texts` are the published counts, where there are."""

    use: str
    records: int | None = None
    texts: int | None = None


@dataclass(frozen=True)
class Card:
    """What is known of a data set; see readers/cards.

    Attributes:
      paper: where the paper names it; files: relative to the root; images: how they are named.
      obtain, note: by language.
      space: whose image ids its images have ("" for its own); guarded: splits whose images no
        training may see.
      counted: the published unit is one record whose id ends so; "" counts every record.
      mixture: splits the paper's mixture takes; the first that trains if none is named.
      layout: the data set, or kind of file, whose reader reads this one; "" for its own.
    """

    name: str
    title: str
    paper: tuple[str, ...]
    lang: str
    tasks: tuple[str, ...]
    licence: str
    home: str
    files: tuple[str, ...]
    obtain: Mapping[str, str]
    splits: Mapping[str, Split]
    templates: tuple[str, ...] = ()
    images: str = ""
    note: Mapping[str, str] = field(default_factory=dict)
    space: str = ""
    guarded: tuple[str, ...] = ()
    counted: str = ""
    mixture: tuple[str, ...] = ()
    layout: str = ""


@functools.cache
def names() -> tuple[str, ...]:
    """All data sets, in the order of the alphabet."""
    found = (file.name for file in resources.files(cards).iterdir())
    return tuple(sorted(name[:-5] for name in found if name.endswith(".yaml")))


@functools.cache
def card(name: str) -> Card:
    """The card of a data set.

    Raises:
      ConfigError: there is no such data set.
    """
    if name not in names():
        valid = ("zv_openmoji", *names())
        raise unknown_name("data set", name, valid, fix="zv data list")
    text = resources.files(cards).joinpath(f"{name}.yaml").read_text(encoding="utf-8")
    values = yaml.safe_load(text)
    splits = {key: Split(**value) for key, value in values.pop("splits").items()}
    lists = {key: tuple(value) for key, value in values.items() if isinstance(value, list)}
    return Card(name=name, splits=splits, **(values | lists))


def read(
    name: str,
    root: str | Path,
    split: str = "train",
    *,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    ignore: Collection[str] = (),
    intake: Intake | None = None,
    training: bool = False,
    paper_mixture: bool = False,
    guard: guard_lib.Guard | None = None,
) -> Iterator[Record]:
    """Yields the records of a split, each checked as a line of a record file would be.

    Args:
      name: of the data set; root: folder of its files; split: its own name of the split.
      columns: for tables of one's own, {role: column}; ignore: columns to leave out on purpose.
      intake: counts what became of the rows of such a table and takes in its bad ones; without it
        the first bad row is an error.
      training: the records are to be learned: evaluation splits are refused, and images of
        `guard` are left out.
      paper_mixture: what `training` would refuse is read all the same, as the counts of the
        paper's tables need, with a warning.
      guard: images of evaluation splits.

    Raises:
      ConfigError: there is no such data set. DataError: files are missing or not as published, or
        an evaluation split is to be learned.
    """
    about = card(name)
    _load_readers()
    if training:
        check_split(name, split, paper_mixture)
    request = Request(
        name, Path(root), split, columns or {}, ignore, intake or Intake(), overlaps=paper_mixture
    )
    dropped = 0
    for record in READERS[about.layout or name](request):
        if training and guard is not None and guard.holds(record, about.space or name):
            dropped += 1
            if not paper_mixture:
                continue
        if request.intake.records:  # own tables check each row where they have its place
            yield record
        else:
            yield records_lib.from_json(records_lib.to_json(record), record.id)
    if dropped:
        log.warning(
            "%s/%s: %d records show pictures of evaluation splits; %s",
            name,
            split,
            dropped,
            "kept for paper_mixture" if paper_mixture else "left out",
        )


def mixture(table: int) -> list[tuple[Card, str]]:
    """(card, split) of every data set that table `table` of the paper trains on."""
    found = []
    for name in names():
        about = card(name)
        trains = [key for key, split in about.splits.items() if split.use == "train"]
        if any(place.startswith(f"Table {table}") for place in about.paper):
            found += [(about, split) for split in about.mixture or trains[:1]]
    return found


def check_split(name: str, split: str, paper_mixture: bool) -> None:
    """Refuses an evaluation split as training data; with `paper_mixture` it warns instead.

    Names that are no public data set, and splits it does not have, pass.

    Raises:
      DataError: the split evaluates.
    """
    if name not in names() or split not in card(name).splits:
        return
    if card(name).splits[split].use != "eval":
        return
    if paper_mixture:
        log.warning(
            "TRAINING ON %s/%s, WHICH EVALUATES: scores on it and on sets that share its pictures "
            "mean nothing (paper_mixture)",
            name,
            split,
        )
        return
    raise DataError(
        f"{name}/{split} evaluates and must not be learned",
        where=name,
        expected="a training split: "
        + ", ".join(k for k, v in card(name).splits.items() if v.use == "train"),
        fix="choose another split; for records to evaluate on --purpose=eval; to repeat the "
        "paper's counts in spite of it --paper_mixture",
    )


@functools.cache
def _load_readers() -> None:
    for module in _MODULES:
        importlib.import_module(f"zv_jax.data.readers.{module}")
