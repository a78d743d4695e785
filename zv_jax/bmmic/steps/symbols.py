"""`symbols`: views of the images of annotated sets, in shards."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path

from zv_jax.bmmic import sources
from zv_jax.bmmic import view as views
from zv_jax.bmmic.config import Config, Source
from zv_jax.bmmic.steps import asking
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.bmmic.symbols import from_records
from zv_jax.bmmic.view import View
from zv_jax.data.public.guard import Guard
from zv_jax.errors import ConfigError, DataError


def run(config: Config, workdir: Path) -> int:
    """Writes `symbols/`; returns how many views there are.

    Raises:
      ConfigError: no source is named. DataError: a source cannot be read, or has no view.
    """
    chunks = asking.chunks(every(config), config.shard_size)
    first = next(chunks, None)  # a source that cannot be read leaves no folder behind
    if first is None:
        raise DataError(
            "no image has a caption or a box",
            where="symbols.sources",
            expected="annotated sets, such as coco_caption, flickr30k or visual_genome",
            fix="check the split of the source",
        )
    out, count = Shards(workdir / "symbols"), 0
    out.begin("symbols", dataclasses.asdict(config.symbols) | {"shard_size": config.shard_size})
    for number, chunk in itertools.chain([first], chunks):
        count += len(chunk)
        if not out.has(number):
            out.write(number, map(views.to_json, chunk))
    return count


def every(config: Config) -> Iterator[View]:
    """The views of all sources, in order."""
    settings = config.symbols
    if not settings.sources:
        raise ConfigError(
            "no source of images is named",
            where="symbols.sources",
            expected="at least one annotated set",
            fix="see configs/bmmic/paper.py",
        )
    guarded = Guard.load(settings.guard) if settings.guard else None
    further = [_open(source, f"symbols.more[{i}]") for i, source in enumerate(settings.more)]
    more = from_records.index((o.records(guarded), o.space) for o in further)
    boxes = from_records.instances(Path(settings.instances)) if settings.instances else None
    for i, source in enumerate(settings.sources):
        own = _open(source, f"symbols.sources[{i}]")
        found = from_records.views(
            own.records(guarded),
            own.name,
            own.space,
            settings.licence or own.licence,
            more,
            boxes,
        )
        yield from itertools.islice(found, settings.limit or None)


def _open(source: Source, where: str) -> sources.Opened:
    return sources.opened(source, where)


def read(shards: Shards, number: int) -> Iterator[View]:
    """The views of a shard."""
    for where, line in shards.rows(number):
        yield views.loads(line, where)
