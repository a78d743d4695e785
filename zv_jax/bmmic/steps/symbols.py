"""`symbols`: views of images, in shards: of annotated sets, and of bare images through models."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from zv_jax.bmmic import sources
from zv_jax.bmmic import view as views
from zv_jax.bmmic.config import Config, Source
from zv_jax.bmmic.steps import annotating, asking
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.bmmic.symbols import from_records
from zv_jax.bmmic.view import View
from zv_jax.data.public import guard
from zv_jax.data.public.guard import Guard
from zv_jax.errors import ConfigError, DataError


def run(config: Config, workdir: Path, part: tuple[int, int] = (0, 1)) -> Counter[str]:
    """Writes `symbols/`, or the shards of worker `part[0]` of `part[1]`.

    Returns:
      How many "views" there are in these shards, and how many of them are "unreadable" or "empty":
      without caption, tag and box, so that nothing can be asked of them.

    Raises:
      ConfigError: no source is named. DataError: a source cannot be read, or has no view.
    """
    chunks = asking.chunks(every(config), config.shard_size)
    first = next(chunks, None)  # a source that cannot be read leaves no folder behind
    if first is None:
        raise DataError(
            "no image has a caption or a box",
            where="symbols.sources",
            expected="annotated sets, such as coco_caption, flickr30k or visual_genome; bare "
            "images with annotate.detector",
            fix="check the split of the source",
        )
    out, counts = Shards(workdir / "symbols"), Counter(views=0)
    settings = dataclasses.asdict(config.symbols) | {"shard_size": config.shard_size}
    annotator = None
    if config.annotate.detector.kind:
        annotator = annotating.Annotator(config, out.folder)
        settings |= {"annotate": annotator.chain.about}
    out.begin("symbols", settings)
    for number, chunk in itertools.chain([first], chunks):
        if number % part[1] != part[0]:
            continue
        if not out.has(number):
            made = annotator.shard(number, chunk) if annotator else chunk
            out.write(number, map(views.to_json, made))
        counts.update(_kinds(read(out, number) if annotator else chunk))
    return counts


def _kinds(found: Iterable[View]) -> Iterator[str]:
    for view in found:
        yield "views"
        if "fault" in view.meta.get("annotate", {}):
            yield "unreadable"
        elif not (view.captions or view.tags or view.objects):
            yield "empty"


def told(counts: Counter[str]) -> str:
    """The counts in words."""
    rest = {"unreadable": "with an image that cannot be read", "empty": "with nothing found"}
    return ", ".join(
        [f"{counts['views']:,} views"]
        + [f"{counts[kind]:,} {words}" for kind, words in rest.items() if counts[kind]]
    )


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
        if own.name == sources.FOLDER:
            if not config.annotate.detector.kind:
                raise ConfigError(
                    "nothing is known of bare images, and no detector is named",
                    where=f"symbols.sources[{i}], annotate.detector.kind",
                    expected="grounding_dino or sam3",
                    fix="see configs/bmmic/annotate.py",
                )
            bare = _bare(own, settings.licence, guarded)
            yield from itertools.islice(bare, settings.limit or None)
            continue
        found = from_records.views(
            own.records(guarded),
            own.name,
            own.space,
            settings.licence or own.licence,
            more,
            boxes,
        )
        yield from itertools.islice(found, settings.limit or None)


def _bare(own: sources.Opened, licence: str, guarded: Guard | None) -> Iterator[View]:
    for record in own.records(guarded):
        yield View(
            id=record.id,
            image=record.images[0],
            licence=licence or own.licence,
            shown=tuple(guard.image_ids(record, own.space)),
            meta={"source": own.name},
        )


def _open(source: Source, where: str) -> sources.Opened:
    return sources.opened(source, where)


def read(shards: Shards, number: int) -> Iterator[View]:
    """The views of a shard."""
    for where, line in shards.rows(number):
        yield views.loads(line, where)
