"""`zv data prepare`: records and images in shards, as training reads them."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.cli.data import common, runners

USAGE = """
usage: zv data prepare [NAME | FILE] --root=DIR --out=DIR

  zv data prepare
  zv data prepare coco_caption --root=/data/coco --out=/shards/coco --image_size=224 --workers=8
  zv data prepare wukong.jsonl --runner=beam --beam_options=runner=FlinkRunner,flink_master=m:8081

Without a name: the embedded data set, zv_openmoji, which is drawn here.
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_source(values)
    common.define_training(values)
    common.define_embedded(values)
    flags.DEFINE_string("out", None, "folder for the shards", flag_values=values)
    flags.DEFINE_integer(
        "image_size",
        0,
        "side of the stored pictures in pixels; 0: as they are",
        0,
        flag_values=values,
    )
    flags.DEFINE_enum(
        "encoding",
        "jpeg",
        ["jpeg", "png", "ppm"],
        "of resized pictures; ppm: uncompressed",
        flag_values=values,
    )
    flags.DEFINE_enum(
        "transparency",
        "white",
        ["white", "black"],
        "as data.transparency of the recipe",
        flag_values=values,
    )
    flags.DEFINE_integer("quality", 95, "of JPEG pictures", 1, flag_values=values)
    flags.DEFINE_integer("shard_size", 2048, "records per shard", 1, flag_values=values)
    flags.DEFINE_float(
        "max_rejected", 0.01, "share of pictures that may be bad", flag_values=values
    )
    runners.define(values)


def run(values: flags.FlagValues, names: list[str]) -> None:
    name = common.one_name("prepare", names, common.EMBEDDED)
    if name == common.EMBEDDED:
        print(f"zv_openmoji ({values.concepts}): {common.embedded(values)}")
        return
    from zv_jax.data.sources import prepare
    from zv_jax.data.sources.shards import Settings

    settings = Settings(
        values.image_size,
        values.encoding,
        values.quality,
        values.shard_size,
        values.transparency,
        values.purpose,
    )
    records, root = common.records(values, name, values.purpose == "train")
    out = Path(required(values, "out", "DIR"))
    manifest = prepare.prepare(
        records,
        root,
        out,
        settings,
        workers=values.workers,
        max_rejected=values.max_rejected,
        writer=runners.shard_writer(values),
    )
    print(
        f"{out}: {manifest['records']:,} records, {manifest['pictures']:,} pictures, "
        f"{manifest['shards']:,} shards, {manifest['rejected']:,} records left out"
    )
