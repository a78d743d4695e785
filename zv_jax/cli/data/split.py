"""`zv data split`: one record file into parts for training and for tests that share no image."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.arguments import existing_file, required
from zv_jax.cli.data import common

USAGE = """
usage: zv data split FILE --out=DIR [--val=0.1] [--test=0.1] [--seed=0]

  zv data split records.jsonl --image_root=photos --out=split

Writes DIR/train.jsonl, DIR/val.jsonl and DIR/test.jsonl. Records that share an image stay together,
also under several names. The same seed cuts the same images in the same way, in any order of the
file. A share of 0 leaves its part out.
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_split(values)
    flags.DEFINE_string(
        "image_root", "", "folder of the pictures (default: that of the file)", flag_values=values
    )
    flags.DEFINE_string("out", None, "the folder to write, not there yet", flag_values=values)
    flags.DEFINE_float("val", 0.1, "share of the records for val", 0, 1, flag_values=values)
    flags.DEFINE_float("test", 0.1, "share of the records for test", 0, 1, flag_values=values)
    flags.DEFINE_integer("seed", 0, "of the draw", flag_values=values)
    flags.DEFINE_bool(
        "contents",
        True,
        "equal files under several names are one image (reads every file)",
        flag_values=values,
    )


def run(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.sources import split
    from zv_jax.data.sources.open import JsonlSource

    path = existing_file(common.one_name("split", names), "record file")
    out = required(values, "out", "split")
    source = JsonlSource(str(path), values.split, values.image_root)
    shares = {part: values[part].value for part in ("val", "test") if values[part].value}
    outcome = split.write(source, out, shares, values.seed, values.contents)
    for part, count in outcome.records.items():
        print(f"{out}/{part}.jsonl: {count:,} records, {outcome.groups[part]:,} groups of images")
    print(
        "in a recipe: "
        f"{{'name': 'jsonl', 'path': '{out}', 'split': 'train', "
        f"'image_root': '{values.image_root or source.root}'}}"
    )
