"""`zv data validate`: every line of record files, checked."""

from __future__ import annotations

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


def _wrong_records(values: flags.FlagValues, name: str) -> int:
    """Prints what is wrong with the records of a file; how many are."""
    good = bad = 0
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
            print(error)
    print(f"{name}: {good} records are right")
    return bad
