"""The data mixtures of the paper's Tables 1 to 3, each with the full-size recipe of its stage.

    zv data prepare cc3m --root=/data/cc3m --out=shards/cc3m/train --image_size=320   (and so on)
    zv train --config configs/paper.py:stage0_chat --workdir runs/stage0_chat
    zv train --config configs/paper.py:stage1_chat --workdir runs/stage1_chat --config.init_from=...
    zv train --config configs/paper.py:stage2_chat --workdir runs/stage2_chat --config.init_from=...

Every data set that the table names is read from `shards/<name>/<split>`, as `zv data prepare` wrote
it; a link named `shards` may lead anywhere. `zv data list NAME` says where each comes from; leave
out what you do not have with --config.data.sources. Scores while training (--config.eval.every)
are of the split `val` of the first data set, which must be there too:

    zv data prepare NAME --root=DIR --split=val --purpose=eval --out=shards/NAME/val

Words after the stage are those of configs/stage0.py to stage2.py.

Evidence. From the paper: the names (Tables 1, 2, 3); ICM, IQM, ICR and IQR are in Table 2 as parts
of Flickr30k-CNA, whose captions it counts, so that their texts that fit are learned as captions and
their questions whether a text fits are not. Tables 2 and 3 show in red which sets only Chat learns:
`zv data list NAME` says what is known of each, and Base leaves out those that are known. Not in the
paper: the weights. Here sources
are mixed by the square root of their size, as InstructBLIP does (section 2.4), whose other numbers
stages 1 and 2 take as well; `--config.data.mixing=size` takes every sample equally often, which is
how the counts of the tables read. The paper's counts include evaluation splits of M3IT and OCR-VQA:
those are refused unless you prepare them with --paper_mixture and set --config.data.paper_mixture.
"""

import importlib

import ml_collections

from zv_jax.data.public import catalogue
from zv_jax.errors import unknown_name

TABLES = {"stage0": 1, "stage1": 2, "stage2": 3}
CAPTIONS = "Image Captioning"  # what is counted of the sets below this heading of Table 2


def get_config(arg: str = "stage1_chat") -> ml_collections.ConfigDict:
    """`arg`: stage0, stage1 or stage2, `_base` or `_chat`, and further words of that recipe.

    Raises:
        ConfigError: there is no such stage, or a word is unknown.
    """
    stage, _, words = arg.partition("_")
    words = words or "chat"
    if stage not in TABLES:
        raise unknown_name(
            "recipe",
            arg,
            [f"{s}_{variant}" for s in TABLES for variant in ("base", "chat")],
            "configs/paper.py",
            fix="--config configs/paper.py:stage1_chat",
        )
    config = importlib.import_module(f"zv_jax.configs.{stage}").get_config(words)
    config.data.sources = sources(stage, config.stage.variant)
    config.data.mixing = "sqrt_size"
    return config


def sources(
    stage: str, variant: str, shards: str = "shards"
) -> tuple[ml_collections.ConfigDict, ...]:
    """The data sets of the stage's table for Base or Chat, as prepared below `shards`."""
    table = TABLES[stage]
    return tuple(
        ml_collections.ConfigDict(
            {
                "name": "prepared",
                "path": f"{shards}/{card.name}",
                "image_root": "",
                "split": split,
                "weight": 1.0,
                "tasks": ("caption",) if _captions(card, table) else (),
                "langs": ("en", "zh"),
            }
        )
        for card, split in catalogue.mixture(table, variant)
    )


def _captions(card: catalogue.Card, table: int) -> bool:
    return any(place.startswith(f"Table {table}: {CAPTIONS}") for place in card.paper)
