"""Translations into Chinese: VQAv2(T), GQA(T), LLaVA(T) and M3IT(T) of the paper's Tables 2 and 3.

    export ZV_BMMIC_URL=https://.../v1 ZV_BMMIC_MODEL=NAME ZV_BMMIC_KEY=...
    zv bmmic run --config configs/bmmic/translate.py:vqav2 --workdir runs/vqav2_t \\
        --config.server.price_in=2.5 --config.server.price_out=10 --config.server.budget=100

The word after the file: vqav2, gqa, llava or m3it. The set is in `data/<name>`, in its published
layout. Result: runs/vqav2_t/export/shards/vqav2_t/train, which configs/paper.py takes from
shards/vqav2_t/train: move or link it there.
"""

import ml_collections

from zv_jax.bmmic.config import recipe
from zv_jax.errors import unknown_name

SETS = {
    "vqav2": ("vqav2", "train"),
    "gqa": ("gqa", "train_balanced"),
    "llava": ("llava_instruct", "instruct_150k"),
    "m3it": ("m3it", "train"),
}


def get_config(arg: str = "vqav2") -> ml_collections.ConfigDict:
    """`arg`: which set.

    Raises:
        ConfigError: another name.
    """
    if arg not in SETS:
        raise unknown_name("set to translate", arg, SETS, "configs/bmmic/translate.py")
    name, split = SETS[arg]
    return recipe(
        translate={
            "sources": ({"name": name, "root": f"data/{name}", "split": split},),
            "guard": "guard",
        },
        filters={"contamination": {"guard": "guard"}},
        server={"concurrency": 64, "temperature": 0.0},
        export={"formats": ("records", "shards"), "image_size": 224},
    )
