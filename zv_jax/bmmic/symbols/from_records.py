"""One view for each image of annotated records: captions of both languages, boxes with labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from zv_jax.bmmic.filters.concepts import chinese_name
from zv_jax.bmmic.view import View
from zv_jax.data.public import guard
from zv_jax.data.readers.boxes import from_xywh
from zv_jax.data.readers.files import json_items
from zv_jax.data.records.record import Box, Object, Record

Key = tuple[str, str]
_CAPTIONED = ("caption", "retrieval", "detail")


@dataclass
class Notes:
    """What is known so far of one image.

    Attributes:
      record: the first of its records.
      captions: by language, each once, in order.
      boxes: by place and name.
    """

    record: Record
    captions: dict[str, dict[str, None]] = field(default_factory=dict)
    boxes: dict[tuple[Box, str], Object] = field(default_factory=dict)

    def add(self, record: Record) -> None:
        """Takes what a record says of the whole image, and the boxes that it names."""
        if record.task in _CAPTIONED:
            lang = "en" if record.lang == "en" else "zh"
            said = record.answers or [t.text for t in record.turns if t.role == "assistant"]
            self.captions.setdefault(lang, {}).update(dict.fromkeys(said))
        if record.task in ("ref_ground", "ref_caption"):
            for thing in record.objects:
                # A record in Chinese names the thing of an English one again.
                self.boxes.setdefault((thing.box, thing.tag_zh or thing.label), thing)

    def things(self) -> tuple[Object, ...]:
        """The boxes, with Chinese labels from the table of names where the source has none."""
        return tuple(
            Object(o.box, o.label, o.score, o.tag_zh or chinese_name(o.label))
            for o in self.boxes.values()
        )


def key_of(record: Record, space: str) -> Key | None:
    """What tells an image from all others, whatever set it is in."""
    return next(guard.image_ids(record, space), None)


def notes(records: Iterable[Record], space: str) -> Iterator[tuple[Key, Notes]]:
    """What consecutive records of one image say, image by image.

    Readers give the records of an image one after the other; an image that comes back later comes
    as another.
    """
    current: tuple[Key, Notes] | None = None
    for record in records:
        key = key_of(record, space)
        if key is None or len(record.images) != 1:
            continue  # what is said of several images is no caption of the first
        if current is None or current[0] != key:
            if current is not None:
                yield current
            current = key, Notes(record)
        current[1].add(record)
    if current is not None:
        yield current


def index(sources: Iterable[tuple[Iterable[Record], str]]) -> dict[Key, Notes]:
    """What further sources know, by image; all of it is kept in memory."""
    found: dict[Key, Notes] = {}
    for records, space in sources:
        for key, one in notes(records, space):
            known = found.setdefault(key, one)
            if known is not one:
                _join(known, one)
    return found


def _join(known: Notes, other: Notes) -> None:
    for lang, texts in other.captions.items():
        known.captions.setdefault(lang, {}).update(texts)
    known.boxes = {**other.boxes, **known.boxes}


@dataclass(frozen=True)
class Instances:
    """Boxes of COCO by image id, with every instance of its 80 classes."""

    boxes: Mapping[str, tuple[Object, ...]]
    sizes: Mapping[str, tuple[int, int]]


def instances(path: Any) -> Instances:
    """Reads `instances_*.json` of COCO; boxes around crowds are left out, their class is marked.

    Raises:
      DataError: the file is not as published.
    """
    names = {row["id"]: row["name"] for row in json_items(path, "categories.item")}
    sizes = {
        str(row["id"]): (row["width"], row["height"]) for row in json_items(path, "images.item")
    }
    found: dict[str, list[Object]] = {}
    for row in json_items(path, "annotations.item"):
        image, label = str(row["image_id"]), names[row["category_id"]]
        box = from_xywh(row["bbox"], *sizes[image])
        if box is not None:
            # A crowd cannot be counted: its label says so, and the filter of counts reads it.
            label = f"crowd of {label}" if row.get("iscrowd") else label
            found.setdefault(image, []).append(Object(box, label, tag_zh=chinese_name(label)))
    return Instances({key: tuple(things) for key, things in found.items()}, sizes)


def views(
    records: Iterable[Record],
    source: str,
    space: str,
    licence: str,
    more: Mapping[Key, Notes] | None = None,
    boxes: Instances | None = None,
) -> Iterator[View]:
    """A view for each image of `records` that has a caption or a box.

    Args:
      source: name of the data set; space: that of its image ids (see `guard`); licence: of both.
      more: what other sets know of the images, by `key_of`.
      boxes: COCO's instances, which replace other boxes of an image and make it countable.
    """
    seen: set[Key] = set()
    for key, one in notes(records, space):
        if key in seen:  # its records were not together; the first ones stand for it
            continue
        seen.add(key)
        if more and key in more:
            _join(one, more[key])
        counted = boxes is not None and key[0] == "coco" and key[1] in boxes.sizes
        things = boxes.boxes.get(key[1], ()) if counted else one.things()
        if not one.captions and not things:
            continue
        image = one.record.images[0]
        if counted and image.width is None:
            width, height = boxes.sizes[key[1]]
            image = dataclasses.replace(image, width=width, height=height)
        name = key[1].removeprefix(f"{source}/{one.record.split}/")
        yield View(
            id=f"{source}/{one.record.split}/{name}",
            image=image,
            captions={lang: tuple(texts) for lang, texts in sorted(one.captions.items())},
            objects=things,
            exhaustive=counted or bool(one.record.meta.get("views")),
            licence=licence,
            shown=tuple(guard.image_ids(one.record, space)),
            meta={"source": source},
        )
