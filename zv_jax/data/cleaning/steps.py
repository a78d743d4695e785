"""What happens to each record of a cleaning, as functions that every runner shares.

`examine` needs one record, `scored` a batch; only finding duplicates needs all (see `duplicates`).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Container, Iterable, Iterator, Sequence
from typing import Any

from PIL import Image

from zv_jax.data.cleaning import duplicates, rules, scores
from zv_jax.data.images import addresses as image_store
from zv_jax.data.images.decode import ImageError
from zv_jax.data.records.record import Record

# Records are scored in batches of as many as were read, whatever became of them, so that a batch
# is the same wherever it is made. Their images are in memory at the same time.
BATCH = 64


@dataclasses.dataclass(frozen=True)
class Row:
    """One record on its way.

    Attributes:
      record: cleaned, or as it was read where it is left out.
      reason: why it is left out, or None.
      image: its first image; look: what duplicates are found by; both of records that have one.
      score: how well image and text fit; crossed: the image with the text of a neighbour.
    """

    record: Record
    reason: str | None = None
    image: Image.Image | None = None
    look: duplicates.Look | None = None
    score: float | None = None
    crossed: float | None = None


def examine(record: Record, root: str, limits: rules.Rules) -> Row:
    """Rules on text, flags and image; `root` is that of the images."""
    cleaned, reason = rules.clean_record(record, limits)
    if cleaned is None:
        return Row(record, reason)
    if not cleaned.images:
        return Row(cleaned)
    try:
        image = image_store.load(root, cleaned.images[0])
    except ImageError:
        return Row(record, "picture")
    fault = rules.size_fault(*image.size, limits)
    if fault:
        return Row(record, fault)
    found = duplicates.look(duplicates.image_hash(image), text_of(cleaned))
    return Row(cleaned, None, image, found)


def marked(rows: Sequence[Row], repeats: Container[int]) -> list[Row]:
    """The rows, those at the places `repeats` left out as duplicates."""
    return [
        Row(row.record, "duplicate") if place in repeats else row for place, row in enumerate(rows)
    ]


def text_of(record: Record) -> str:
    """The text that belongs to the image."""
    if record.answers:
        return record.answers[0]
    return " ".join(turn.text for turn in record.turns)


def scored(rows: Sequence[Row], scorer: scores.Scorer | None, crossed: bool) -> list[Row]:
    """A batch with the scores of the pairs of image and caption that are still there."""
    rows = list(rows)
    if scorer is None:
        return rows
    places = [
        place
        for place, row in enumerate(rows)
        if row.reason is None and row.image is not None and row.record.answers
    ]
    if places:
        images = [rows[place].image for place in places]
        texts = [text_of(rows[place].record) for place in places]
        values = scorer(images, texts)
        # Each image with the text of its neighbour.
        others = scorer(images, texts[1:] + texts[:1]) if crossed and len(places) > 1 else None
        for k, place in enumerate(places):
            other = None if others is None else float(others[k])
            rows[place] = dataclasses.replace(rows[place], score=float(values[k]), crossed=other)
    return rows


def batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    """Lists of `size` items, the last one with what is left."""
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
