"""Which parts of its images a sample shows: `data.augment`.

Stage 0 sees crops of at least half of an image, mirrored half of the time; stages 1 and 2 of at
least nine tenths, never mirrored: LAVIS's processors of pre-training and of instruction tuning.
What an image is said to show must still be there, and true. A mirrored image has its left on the
right and its letters reversed, so that none is whose record speaks of a side, of text in the image
or of a box, in any language or answer. A crop cuts no box that a caption names, and the box moves
with it; dialogues with boxes see their images as they are.

A view depends on seed, source, record, part and epoch, and on no number of workers or processes.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator

from zv_jax.data.images.view import View, draw
from zv_jax.data.pipeline.batches.kind import Sample
from zv_jax.data.records.record import Record
from zv_jax.data.text.templates import seeded

PAIRS, DIALOGUES = 0.5, 0.9  # least share of an image's area
# Data sets that are made of text in images, whatever their words.
READING = ("ocr_vqa", "textcaps", "textvqa")
_SIDE = re.compile(
    r"\b(?:left|right|(?:anti|counter)?-?clockwise)|[左右]|[顺逆順]时针|[順逆]時針", re.IGNORECASE
)
_TEXT = re.compile(
    r"\b(?:text|word|letter|sign|logo|label|writ|print|read|say|spell|number|digit|inscri|title|"
    r"slogan|poster|plate|clock|alphabet|caption)|[字写寫书書标標牌号號题題钟鐘词詞]|[\"“”「」『』《》]",
    re.IGNORECASE,
)
_COORDINATES = re.compile(r"\[\s*[\d.]+\s*(?:,\s*[\d.]+\s*){3}\]")


def of_pair(sample: Sample) -> View | None:
    """The view of a sample's one image; None is all of it."""
    record = sample.record
    if not sample.drawn.shape.augment:
        return None
    boxes = tuple(thing.box for thing in record.objects)
    mirror = not boxes and may_be_mirrored(record)
    return draw(_seed(sample, 0), PAIRS, mirror=mirror, keep=boxes)


def of_dialogue(sample: Sample, number: int) -> View | None:
    """The view of image `number` of a sample; None is all of it."""
    if not sample.drawn.shape.augment or _boxes(sample.record):
        return None
    return draw(_seed(sample, number), DIALOGUES)


def moved(record: Record, view: View) -> Record:
    """The record of an image of which only `view` is seen, which cuts none of its objects."""
    objects = (dataclasses.replace(o, box=view.moved(o.box)) for o in record.objects)
    return dataclasses.replace(record, objects=tuple(objects))


def may_be_mirrored(record: Record) -> bool:
    """Whether all that a record says holds of its image mirrored too."""
    if record.source in READING or _boxes(record):
        return False
    return not any(_SIDE.search(text) or _TEXT.search(text) for text in _texts(record))


def _boxes(record: Record) -> bool:
    return bool(record.objects) or any(map(_COORDINATES.search, _texts(record)))


def _texts(record: Record) -> Iterator[str]:
    yield from (turn.text for turn in record.turns)
    yield from record.answers or ()
    yield from record.choices or ()


def _seed(sample: Sample, number: int) -> int:
    drawn = sample.drawn
    name = f"{drawn.place} {sample.record.id} {sample.part}"
    return seeded(drawn.shape.seed, name, sample.epoch, f"view {number}")
