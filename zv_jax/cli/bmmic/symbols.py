"""`zv bmmic symbols`: captions and boxes of annotated images, joined by image."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.bmmic import common

USAGE = """
usage: zv bmmic symbols --config FILE --workdir DIR

  zv bmmic symbols --config configs/bmmic/quickstart.py --workdir runs/bmmic
  zv bmmic symbols --config configs/bmmic/paper.py:coco --workdir runs/bmmic \\
      --config.symbols.guard=guard

Writes symbols/: one view for each image, of the sets that the recipe names.
"""
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    common.define(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    config, workdir = common.setting(values)
    from zv_jax.bmmic.steps import symbols

    print(f"{workdir / 'symbols'}: {symbols.run(config, workdir):,} views")
