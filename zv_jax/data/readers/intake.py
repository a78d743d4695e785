"""What became of the rows of own tables: read, used, left out, bad. Nothing is lost unseen."""

from __future__ import annotations

import collections
import json
from dataclasses import dataclass, field
from pathlib import Path

from zv_jax import json_input
from zv_jax.errors import DataError
from zv_jax.files import write_atomic

REJECTED = "rejected.jsonl"
_BEFORE_JUDGING = 10  # bad rows of a table; the first few say nothing about a rate


class BadRow(DataError):
    """A row of a known layout that teaches nothing or contradicts itself: it alone is left out."""


@dataclass
class Intake:
    """Counts what happened to every row, and decides whether bad ones end the conversion.

    Attributes:
      max_bad: the share of rows that may be bad; None: the first bad row is an error.
      rows: by file; records: how many came of them.
      unused: rows that had something in a column that is used for nothing, by column.
      left_out: parts of rows, or rows, that were left out without being wrong, by reason.
      other_splits: rows that are not of the split that is read, by their own.
      images: how many there were, by where they are: path, inside (a file of the table) or url.
      bad: the errors of the bad rows.
    """

    max_bad: float | None = None
    rows: collections.Counter[str] = field(default_factory=collections.Counter)
    records: int = 0
    unused: collections.Counter[str] = field(default_factory=collections.Counter)
    left_out: collections.Counter[str] = field(default_factory=collections.Counter)
    other_splits: collections.Counter[str] = field(default_factory=collections.Counter)
    images: collections.Counter[str] = field(default_factory=collections.Counter)
    bad: list[BadRow] = field(default_factory=list)

    def reject(self, error: BadRow) -> None:
        """Takes in a bad row.

        Raises:
          BadRow: the row itself, where none may be bad. DataError: there are too many.
        """
        if self.max_bad is None:
            fix = f"{error.fix}; or let `zv data convert` list such rows and go on"
            raise BadRow(error.what, error.where, error.expected, fix)
        self.bad.append(error)
        if len(self.bad) > 10 * _BEFORE_JUDGING:
            self._judge()

    def finish(self, where: str) -> None:
        """To be called after the last row of the table at `where`.

        Raises:
          DataError: too many rows were bad, or all of them, or all are of other splits, or there
            is none.
        """
        if not self.rows:
            raise DataError(
                "no rows", where=where, expected="at least one", fix="check --root and --split"
            )
        if self.other_splits and not self.records and not self.bad:
            raise DataError(
                "no row of this split",
                where=where,
                expected="a split of " + ", ".join(self.other_splits),
                fix=f"--split={next(iter(self.other_splits))}, or --ignore=split to read all rows",
            )
        if self.bad and not self.records:
            first = self.bad[0]
            every = f"{first.what} (and no row of {sum(self.rows.values())} can be used)"
            raise DataError(every, first.where, first.expected, first.fix)
        if len(self.bad) > _BEFORE_JUDGING:
            self._judge()

    def _judge(self) -> None:
        seen, first = sum(self.rows.values()), self.bad[0]
        if len(self.bad) > self.max_bad * seen:
            raise DataError(
                f"{len(self.bad)} of {seen} rows are bad; the first: {first.what}",
                where=first.where,
                expected=f"at most {self.max_bad:.2%}: {first.expected}",
                fix=f"{first.fix}; or allow more with --max_bad",
            )

    def lines(self) -> list[str]:
        """The report, a line each."""
        out = [f"read: {file}, {count:,} rows" for file, count in self.rows.items()]
        out += [f"left out: {reason}: {count:,}" for reason, count in self.left_out.items()]
        out += [f"left out: rows of split {s!r}: {n:,}" for s, n in self.other_splits.items()]
        out += [
            f"used for nothing: column {column!r}, {count:,} rows have it"
            for column, count in self.unused.items()
        ]
        if self.bad:
            out.append(f"bad: {len(self.bad):,} of {sum(self.rows.values()):,} rows")
        return out

    def write_rejected(self, out: Path) -> Path | None:
        """Lists the bad rows of the conversion to `out` in `rejected.jsonl` beside it.

        Those of other conversions to the same folder stay in the list.
        """
        path = out.parent / REJECTED
        rows = []
        if path.is_file():
            rows = [
                json_input.parse(line, f"{path}:{number}")
                for number, line in json_input.numbered(path)
            ]
        rows = [row for row in rows if not isinstance(row, dict) or row.get("out") != out.name]
        for error in self.bad:
            facts = {"where": error.where, "what": error.what, "expected": error.expected}
            rows.append({"out": out.name, **facts, "fix": error.fix})
        if rows:
            text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
            write_atomic(path, text.encode())
        else:
            path.unlink(missing_ok=True)
        return path if self.bad else None
