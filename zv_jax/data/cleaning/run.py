"""The whole cleaning: rules, duplicates, scores, thresholds; in memory only what duplicates need.

First pass: every record through rules, image and duplicates, its score noted; here or on Apache
Beam (see `on_beam`). Then one threshold per source and language. Second pass: what passes is
written, in the order it came.
"""

from __future__ import annotations

import collections
import dataclasses
import functools
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np

from zv_jax.data.cleaning import duplicates, rules, scores, steps
from zv_jax.data.cleaning.steps import Row
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import Record
from zv_jax.data.sources import convert

_EXAMPLES = 12  # shown per reason

Runner = Callable[[Iterable[Record], str, rules.Rules, Path], Iterable[Row]]
"""Records, root of their images, limits, a folder for the time being -> a row per record."""


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
    runner: Runner | None = None,
) -> Outcome:
    """Writes the records that pass to `out` and returns what happened to all.

    Args:
      records: in order; root: of their images.
      out: a `.jsonl` file; it appears when it is complete.
      limits: of the rules.
      scorer: of image and text; none: rules and duplicates only.
      keep: share of the scored pairs to keep; by default that of Table 1 for its sources, else all.
      precision: choose the threshold by matched against shuffled pairs instead.
      runner: of the first pass; none: this process. One that is given has a scorer of its own.

    Raises:
      DataError: nothing passes; errors of the reader pass through.
    """
    outcome = Outcome()
    runner = runner or functools.partial(here, scorer=scorer, crossed=precision is not None)
    noted = collections.defaultdict(list)
    crossed = collections.defaultdict(list)
    with tempfile.TemporaryDirectory(dir=Path(out).resolve().parent) as folder:
        candidates = Path(folder) / "candidates.jsonl"
        with candidates.open("w", encoding="utf-8") as file:
            for row in runner(records, str(root), limits or rules.Rules(), Path(folder)):
                key = row.record.source, row.record.lang
                outcome.seen[key] += 1
                if row.reason is not None:
                    outcome.drop(row.record, row.reason)
                    continue
                if row.score is not None:
                    noted[key].append(row.score)
                if row.crossed is not None:
                    crossed[key].append(row.crossed)
                line = {"score": row.score, "record": records_lib.to_json(row.record)}
                file.write(json.dumps(line, ensure_ascii=False) + "\n")
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


def here(
    records: Iterable[Record],
    root: str,
    limits: rules.Rules,
    folder: Path,
    *,
    scorer: scores.Scorer | None,
    crossed: bool,
) -> Iterator[Row]:
    """The first pass in this process: a row per record, in order; nothing is kept in `folder`."""
    pairs = duplicates.Pairs()
    for batch in steps.batches(records, steps.BATCH):
        rows = [steps.examine(record, root, limits) for record in batch]
        repeats = {i for i, row in enumerate(rows) if row.look and pairs.repeats(row.look)}
        yield from steps.scored(steps.marked(rows, repeats), scorer, crossed)


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
