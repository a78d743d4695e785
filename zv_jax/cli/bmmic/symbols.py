"""`zv bmmic symbols`: captions and boxes of images, joined by image; of bare ones, by models."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.bmmic import common

USAGE = """
usage: zv bmmic symbols --config FILE --workdir DIR [--part=0/2]

  zv bmmic symbols --config configs/bmmic/quickstart.py --workdir runs/bmmic
  zv bmmic symbols --config configs/bmmic/paper.py:coco --workdir runs/bmmic \\
      --config.symbols.guard=guard
  zv bmmic symbols --config configs/bmmic/annotate.py --workdir runs/bmmic \\
      --config.annotate.device=cuda

Writes symbols/: one view for each image, of the sets that the recipe names. With
annotate.detector, images without boxes get some: tags, boxes of the tags, masks that tighten them.
"""
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    common.define_part(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    config, workdir = common.setting(values)
    from zv_jax.bmmic.steps import symbols

    counts = symbols.run(config, workdir, common.part(values.part))
    print(f"{workdir / 'symbols'}: {symbols.told(counts)}")
