"""`zv data guard`: lists of the images that evaluations show, to keep them out of training."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.cli.data import common
from zv_jax.data.public import guard, guard_lists
from zv_jax.errors import ConfigError
from zv_jax.tables import align

USAGE = """
usage: zv data guard NAME=DIR ... --out=DIR

  zv data guard okvqa=/data/okvqa coco_caption=/data/coco visual_genome=/data/vg --out=guard
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("out", None, "folder for the lists", flag_values=values)


def run(values: flags.FlagValues, names: list[str]) -> None:
    if not names:
        raise ConfigError(
            "zv data guard needs copies of evaluation sets",
            expected="NAME=DIR ... with names of " + ", ".join(guard_lists.guarded_sets()),
            fix="zv data guard okvqa=/data/okvqa --out=guard",
        )
    out = required(values, "out", "guard")
    found = guard_lists.collect(dict(common.pairs(names, "zv data guard", "okvqa=/data/okvqa")))
    guard.write(out, found)
    rows = [
        (space, origin, f"{len(ids):,}", guard.digest(ids)[:16])
        for space, parts in sorted(found.items())
        for origin, ids in sorted(parts.items())
    ]
    print("\n".join(align(rows, "llrl")))
