"""`zv bmmic export`: what was kept, in the forms that programs read, with a card."""

from __future__ import annotations

from absl import flags

from zv_jax.cli.bmmic import common

USAGE = """
usage: zv bmmic export --config FILE --workdir DIR

  zv bmmic export --config configs/bmmic/quickstart.py --workdir runs/bmmic
  zv bmmic export --config configs/bmmic/paper.py --workdir runs/bmmic \\
      --config.export.formats=records,shards --config.export.image_size=224

Reads kept/, writes export/: NAME/train.jsonl (our records), LLaVA JSON, shards/NAME/train as
training reads them, TFDS, Parquet for the Hugging Face hub, and a card in both languages.
"""
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    common.define(values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    config, workdir = common.setting(values)
    from zv_jax.bmmic.steps import export

    for path in export.run(config, workdir):
        print(path)
