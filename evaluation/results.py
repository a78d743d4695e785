"""Measures, and what a suite leaves behind: results.json, items.jsonl, samples.jsonl, images/ ...

Every file appears complete or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zv_jax.data.records.record import ImageRef
from zv_jax.errors import DataError
from zv_jax.evaluation import statistics
from zv_jax.evaluation.predict import Finder, Item
from zv_jax.evaluation.predictions import Prediction
from zv_jax.files import write_atomic

_LONGEST_NAME = 150  # file systems take 255 bytes
LONGEST = 512  # pixels of an image kept for looking at


@dataclass(frozen=True)
class Measure:
    """One metric of some items.

    Attributes:
      metric: its name.
      values: float [N], one per judged unit, hundredfold (a share is a percentage).
      owners: int [N], index of the item a unit belongs to.
      protocol: all that another number under the same name could differ in.
      unreadable: units counted as wrong because the answer could not be read.
      whole: the 95 % interval of a number that is no mean over items (an average precision):
        `values` then holds that number alone, and no item has a value of its own.
      asked: how many items were asked, where that is a part of those evaluated.
    """

    metric: str
    values: np.ndarray
    owners: np.ndarray
    protocol: str
    unreadable: int = 0
    whole: tuple[float, float] | None = None
    asked: int = 0

    @property
    def value(self) -> float:
        """Mean over the units."""
        return float(self.values.mean())


def per_item(
    metric: str, values: Sequence[float | bool], protocol: str, unreadable: int = 0
) -> Measure:
    """A measure with one unit per item; true counts 100."""
    array = np.array([100.0 * v if isinstance(v, bool) else v for v in values], np.float64)
    return Measure(metric, array, np.arange(len(array)), protocol, unreadable)


def ids_hash(ids: Iterable[str]) -> str:
    """SHA-256 of the evaluated ids, in order: two scores compare only where it is equal."""
    return hashlib.sha256("\n".join(ids).encode()).hexdigest()


def named(measure: Measure, items: int, expected: int) -> Measure:
    """The measure of `items` of the `expected` items of a split; of a part its name ends in @n."""
    asked = measure.asked or items
    return measure if asked >= expected else replace(measure, metric=f"{measure.metric}@{asked}")


def entry(
    task: str,
    lang: str,
    measure: Measure,
    *,
    protocol: str,
    expected: int,
    ids: Sequence[str],
    controls: dict[str, float | None],
    control_n: dict[str, int],
    seed: int,
) -> dict[str, Any]:
    """One entry of ``scores`` in results.json; values are rounded to 4 decimals.

    Raises:
      ValueError: the measure has no value, or one that is not finite.
    """
    low, high = measure.whole or statistics.interval(measure.values, measure.owners, seed)
    return {
        "task": task,
        "lang": lang,
        "metric": measure.metric,
        "value": round(measure.value, 4),
        "n": len(ids) if measure.whole else len(measure.values),
        "interval": [round(low, 4), round(high, 4)],
        "controls": {k: None if v is None else round(v, 4) for k, v in controls.items()},
        "control_n": control_n,
        "unreadable": measure.unreadable,
        "items": len(ids),
        "items_expected": expected,
        "ids_sha256": ids_hash(ids),
        "protocol": protocol,
    }


class Writer:
    """Collects samples and writes everything under one folder."""

    def __init__(self, workdir: Path):
        self.workdir = workdir
        self._image: Finder = lambda ref: Image.new("RGB", (1, 1))
        self._scope = ""
        self._names: dict[tuple[str, ImageRef], str] = {}
        self._samples: list[dict[str, Any]] = []
        self._items: list[dict[str, Any]] = []
        try:
            (workdir / "images").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DataError(
                f"the folder for the results cannot be made: {error}",
                where=str(workdir),
                fix="give another --workdir",
            ) from error

    @property
    def samples(self) -> list[dict[str, Any]]:
        """The rows of samples.jsonl so far."""
        return self._samples

    def show(self, image: Finder, scope: str) -> None:
        """From here on references are those of `scope`, and `image` finds them."""
        self._image, self._scope = image, scope

    def image(self, ref: ImageRef) -> str:
        """Keeps an image, small, and returns its name relative to the folder."""
        key = self._scope, ref
        if key not in self._names:
            address = "/".join(filter(None, (self._scope, ref.shard_key or ref.path or ref.url)))
            name = re.sub(r"[^A-Za-z0-9_-]+", "-", os.path.splitext(address)[0]).strip("-")
            # Another address of the same name, one in Chinese alone, or longer than a name can be.
            if f"images/{name}.png" in self._names.values() or not 0 < len(name) <= _LONGEST_NAME:
                digest = hashlib.sha256(address.encode(errors="backslashreplace")).hexdigest()[:8]
                name = f"{name[:_LONGEST_NAME]}-{digest}".strip("-")
            small = self._image(ref).copy()
            small.thumbnail((LONGEST, LONGEST))
            small.save(self.workdir / "images" / f"{name}.png")
            self._names[key] = f"images/{name}.png"
        return self._names[key]

    def sample(self, task: str, lang: str, images: Sequence[ImageRef], **facts: Any) -> None:
        """Adds a row of samples.jsonl."""
        names = [self.image(ref) for ref in images]
        row = {
            "task": task,
            "lang": lang,
            "image": names[0] if len(names) == 1 else names,
            "question": "",
            "references": [],
            "prediction": "",
            "correct": None,
            "box_true": None,
            "box_pred": None,
            "retrieved": None,
            "turns": None,
        }
        self._samples.append(row | facts)

    def answered(
        self, task: str, lang: str, item: Item, prediction: Prediction, mark: dict[str, Any]
    ) -> None:
        """Adds the row of an item that was answered in words."""
        record = item.record
        facts: dict[str, Any] = {
            "id": item.id,
            "group": item.group,
            "question": item.shown,
            "options": list(record.choices or ()),
            "references": list(item.references[-1]),
            "prediction": prediction.text,
            "boxes": [list(thing.box) for thing in record.objects if thing.image == 0],
        }
        if len(item.turns) > 1:
            facts["turns"] = [
                {"question": t.question, "prediction": a, "references": list(refs)}
                for t, a, refs in zip(item.turns, prediction.answers, item.references, strict=True)
            ]
        self.sample(task, lang, item.images, **(facts | mark))

    def items(self, task: str, lang: str, measure: Measure, ids: Sequence[str]) -> None:
        """Adds rows of items.jsonl: every item's values, for comparisons with other runs."""
        if measure.whole:
            return
        values: dict[int, list[float]] = {}
        for owner, value in zip(measure.owners.tolist(), measure.values.tolist(), strict=True):
            values.setdefault(owner, []).append(round(value, 6))
        self._items += [
            {"task": task, "lang": lang, "metric": measure.metric, "id": ids[owner], "values": v}
            for owner, v in values.items()
        ]

    def attention(self, maps: Iterable[tuple[str, np.ndarray]]) -> None:
        """Writes attention.json from pairs of an image's name and float [queries, h, w]."""
        entries = [
            {
                "image": name,
                "query": query,
                "grid": list(weights.shape),
                "weights": [round(float(w), 6) for w in weights.ravel()],
            }
            for name, of_image in maps
            for query, weights in enumerate(np.asarray(of_image, np.float64))
        ]
        self._write("attention.json", json.dumps(entries))

    def finish(self, results: dict[str, Any]) -> None:
        """Writes the lines, then results.json, whose presence says that all is there."""
        for name, rows in (("items.jsonl", self._items), ("samples.jsonl", self._samples)):
            lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
            self._write(name, "".join(lines))
        self._write("results.json", json.dumps(results, ensure_ascii=False, indent=1) + "\n")

    def _write(self, name: str, text: str) -> None:
        write_atomic(self.workdir / name, text.encode())
