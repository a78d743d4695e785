"""`zv data validate`: every line of record files, checked."""

from __future__ import annotations

import re
from collections import Counter

from absl import flags

from zv_jax.cli.arguments import existing_file
from zv_jax.cli.data import common
from zv_jax.data.records.validate import check_file
from zv_jax.errors import ConfigError, DataError

USAGE = """
usage: zv data validate FILE ...

  zv data validate mine.jsonl --image_root=photos --decode
"""
TAKES_WORDS = True

FIRST = 10  # errors of a kind that are printed


def define(values: flags.FlagValues) -> None:
    common.define_split(values)
    common.define_purpose(values)
    flags.DEFINE_string(
        "image_root", "", "folder of the pictures (default: that of the file)", flag_values=values
    )
    flags.DEFINE_bool("decode", False, "decode every picture too", flag_values=values)


def run(values: flags.FlagValues, names: list[str]) -> None:
    if not names:
        raise ConfigError(
            "zv data validate needs a file",
            expected="one or more .jsonl files",
            fix="zv data validate mine.jsonl",
        )
    bad = sum(_wrong_records(values, name) for name in names)
    if bad:
        raise DataError(
            f"{bad} records are wrong (listed above)",
            where=", ".join(names),
            fix="mend or remove these lines",
        )


class Shown:
    """Prints the first `FIRST` errors of each kind and counts the others."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, error: DataError) -> None:
        """Prints `error`, or counts it. Its kind is what it says without names and numbers."""
        kind = re.sub(r"'[^']*'|\"[^\"]*\"|\S*[\d/]\S*", "...", error.what)
        self._counts[kind] += 1
        if self._counts[kind] <= FIRST:
            print(error)

    def rest(self) -> list[str]:
        """A line for each kind of which not all were printed."""
        return [
            f"and {count - FIRST:,} more: {kind}"
            for kind, count in self._counts.items()
            if count > FIRST
        ]


def _wrong_records(values: flags.FlagValues, name: str) -> int:
    """Prints what is wrong with the records of a file; how many are."""
    good = bad = 0
    shown = Shown()
    for _, errors in check_file(
        existing_file(name, "record file"),
        values.image_root,
        values.decode,
        answered=values.purpose == "train",
        split=values.split,
    ):
        good += not errors
        bad += bool(errors)
        for error in errors:
            shown.add(error)
    for line in shown.rest():
        print(line)
    print(f"{name}: {good} records are right")
    return bad
