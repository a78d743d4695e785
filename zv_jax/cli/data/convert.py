"""`zv data convert`: the records of a data set as one .jsonl file."""

from __future__ import annotations

import sys
from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.cli.data import common
from zv_jax.data.readers.intake import Intake

USAGE = """
usage: zv data convert NAME --root=DIR --out=FILE

  zv data convert llava_json --root=chats.json --image_root=photos --out=mine.jsonl
  zv data convert csv --root=mine.csv --columns=image=pic,caption=words --out=mine.jsonl
  zv data convert pairs_jsonl --root=mine.jsonl --ignore=system,notes --out=records.jsonl
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_source(values)
    common.define_training(values)
    flags.DEFINE_string("out", None, "the file to write", flag_values=values)
    flags.DEFINE_float(
        "max_bad", 0.01, "share of bad rows, above ten of them", 0, 1, flag_values=values
    )


def run(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.sources import convert

    intake = Intake(values.max_bad)
    name = common.one_name("convert", names)
    records, root = common.records(values, name, values.purpose == "train", intake)
    out = Path(required(values, "out", "mine.jsonl"))
    count = convert.write_jsonl(records, out)
    rejected = intake.write_rejected(out)
    for line in intake.lines():
        print(line)
    if rejected:
        print(f"bad rows are listed in {rejected}")
    if intake.images["inside"]:
        root = _root_of_images(Path(values.root), root, intake)
    if intake.images["url"]:
        print(f"zv: {intake.images['url']:,} images are URLs: download them before training")
    print(f"{out}: {count:,} records; images are relative to {root}")


def _root_of_images(table: Path, root: Path, intake: Intake) -> Path:
    """What images are relative to where a table holds some of them itself."""
    table = table if table.is_dir() else table.parent
    if intake.images["path"] and table != root:
        print(
            f"zv: {intake.images['inside']:,} images are inside the table and relative to "
            f"{table}, {intake.images['path']:,} are files relative to {root}: put both below "
            "one folder and convert again with it as --root and --image_root",
            file=sys.stderr,
        )
    return root if intake.images["path"] else table
