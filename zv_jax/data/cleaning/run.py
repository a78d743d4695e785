"""The whole cleaning: rules, duplicates, scores, thresholds; two passes, memory flat.

First pass: every record through rules, picture and duplicates, its score noted. Then one threshold
per source and language. Second pass: what passes is written, in the order it came.
"""

from __future__ import annotations

import collections
import dataclasses
import json
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from zv_jax.data import convert, pictures
from zv_jax.data import records as records_lib
from zv_jax.data.cleaning import duplicates, rules, scores
from zv_jax.data.images import ImageError
from zv_jax.data.records import Record

_BATCH = 64
_EXAMPLES = 12  # shown per reason


@dataclasses.dataclass
class Outcome:
    """What happened.

    Attributes:
      seen, kept: records by (source, lang).
      reasons: how many records each rule removed, by (source, lang, reason).
      thresholds: by (source, lang), where records were scored; `scored` holds the scores.
      examples: reason -> records it removed, for the report.
    """

    seen: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    kept: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    reasons: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    thresholds: dict[tuple[str, str], float] = dataclasses.field(default_factory=dict)
    scored: dict[tuple[str, str], np.ndarray] = dataclasses.field(default_factory=dict)
    examples: dict[str, list[Record]] = dataclasses.field(
        default_factory=lambda: collections.defaultdict(list)
    )

    def drop(self, record: Record, reason: str) -> None:
        """Notes why a record is left out."""
        self.reasons[record.source, record.lang, reason] += 1
        if len(self.examples[reason]) < _EXAMPLES:
            self.examples[reason].append(record)


def clean(
    records: Iterable[Record],
    root: str | Path,
    out: str | Path,
    limits: rules.Rules | None = None,
    *,
    scorer: scores.Scorer | None = None,
    keep: float | None = None,
    precision: float | None = None,
) -> Outcome:
    """Writes the records that pass to `out` and returns what happened to all.

    Args:
      records: in order; root: of their pictures.
      out: a `.jsonl` file; it appears when it is complete.
      limits: of the rules.
      scorer: of picture and text; none: rules and duplicates only.
      keep: share of the scored pairs to keep; by default that of Table 1 for its sources, else all.
      precision: choose the threshold by matched against shuffled pairs instead.

    Raises:
      DataError: nothing passes; errors of the reader pass through.
    """
    limits, outcome, seen = limits or rules.Rules(), Outcome(), duplicates.Pairs()
    noted = collections.defaultdict(list)
    crossed = collections.defaultdict(list)
    with tempfile.TemporaryDirectory(dir=Path(out).resolve().parent) as folder:
        candidates = Path(folder) / "candidates.jsonl"
        with candidates.open("w", encoding="utf-8") as file:
            passing = _first_pass(records, root, limits, outcome, seen)
            for batch in _batches(passing, _BATCH):
                values = _score(scorer, batch) if scorer else [None] * len(batch)
                for (record, _), value in zip(batch, values, strict=True):
                    if value is not None:
                        noted[record.source, record.lang].append(value)
                    line = {"score": value, "record": records_lib.to_json(record)}
                    file.write(json.dumps(line, ensure_ascii=False) + "\n")
                if scorer and precision is not None and len(batch) > 1:
                    # Each picture with the text of its neighbour.
                    texts = [_text(record) for record, _ in batch]
                    shuffled = scorer([image for _, image in batch], texts[1:] + texts[:1])
                    for (record, _), value in zip(batch, shuffled, strict=True):
                        crossed[record.source, record.lang].append(value)
        for key, values in noted.items():
            outcome.scored[key] = np.array(values)
            outcome.thresholds[key] = (
                scores.by_precision(outcome.scored[key], np.array(crossed[key]), precision)
                if precision is not None
                else scores.by_quantile(
                    outcome.scored[key], scores.KEEP.get(key[0], 1.0) if keep is None else keep
                )
            )
        convert.write_jsonl(_second_pass(candidates, outcome), out)
    return outcome


def _first_pass(
    records: Iterable[Record],
    root: str | Path,
    limits: rules.Rules,
    outcome: Outcome,
    seen: duplicates.Pairs,
) -> Iterator[tuple[Record, Image.Image | None]]:
    for record in records:
        outcome.seen[record.source, record.lang] += 1
        cleaned, reason = rules.clean_record(record, limits)
        if cleaned is None:
            outcome.drop(record, reason)
            continue
        image = None
        if cleaned.images:
            try:
                image = pictures.load(root, cleaned.images[0])
            except ImageError:
                outcome.drop(record, "picture")
                continue
            fault = rules.size_fault(*image.size, limits)
            if fault is None and seen.repeats(duplicates.picture_hash(image), _text(cleaned)):
                fault = "duplicate"
            if fault:
                outcome.drop(record, fault)
                continue
        yield cleaned, image


def _text(record: Record) -> str:
    if record.answers:
        return record.answers[0]
    return " ".join(turn.text for turn in record.turns)


def _score(scorer: scores.Scorer, batch: list[tuple[Record, Any]]) -> list[float | None]:
    """The score of each record that has a picture and a caption."""
    found: list[float | None] = [None] * len(batch)
    places = [i for i, (record, image) in enumerate(batch) if image and record.answers]
    if places:
        values = scorer([batch[i][1] for i in places], [_text(batch[i][0]) for i in places])
        for place, value in zip(places, values, strict=True):
            found[place] = float(value)
    return found


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    batch: list[Any] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def _second_pass(candidates: Path, outcome: Outcome) -> Iterator[Record]:
    with candidates.open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            record = records_lib.from_json(row["record"])
            score, key = row["score"], (record.source, record.lang)
            if score is not None and score < outcome.thresholds[key]:
                outcome.drop(record, "score")
                continue
            outcome.kept[key] += 1
            yield record
