"""BMMIC as in the paper's section 3.1: new pairs about COCO, Flickr30k and AI Challenger.

    export ZV_BMMIC_URL=https://.../v1 ZV_BMMIC_MODEL=NAME ZV_BMMIC_KEY=...
    zv data guard okvqa=data/okvqa coco_caption=data/coco --out=guard
    zv bmmic run --config configs/bmmic/paper.py --workdir runs/bmmic \\
        --config.server.price_in=2.5 --config.server.price_out=10 --config.server.budget=100

Words after the file take some of the sets: `configs/bmmic/paper.py:coco,flickr30k`. Images and
annotations are in `data/<name>`, in their published layout (`zv data list NAME`). Captions of COCO
in Chinese come from COCO-CN, those of Flickr30k from Flickr30k-CNA, boxes of COCO from
data/coco_caption/annotations/instances_train2014.json; for images without boxes only captions are
known.

Evidence. From the paper: the three sets, the kinds of pairs, the four rewritings, captions and
boxes as input, in-context examples. Not in the paper: two examples a request, the share of pairs
that are rewritten (0.4), temperatures and thresholds.
"""

import ml_collections

from zv_jax.bmmic.config import recipe
from zv_jax.errors import unknown_name

SETS = {"coco": "coco_caption", "flickr30k": "flickr30k", "ai_challenger": "ai_challenger"}
CHINESE = {"coco": "coco_cn", "flickr30k": "flickr30k_cna"}


def get_config(arg: str = "coco,flickr30k,ai_challenger") -> ml_collections.ConfigDict:
    """`arg`: some of the three sets, with commas.

    Raises:
        ConfigError: another name.
    """
    chosen = [name for name in arg.split(",") if name]
    for name in chosen:
        if name not in SETS:
            raise unknown_name("set of images", name, SETS, "configs/bmmic/paper.py")
    instances = "data/coco_caption/annotations/instances_train2014.json"
    return recipe(
        symbols={
            "sources": tuple(_source(SETS[name]) for name in chosen),
            "more": tuple(_source(CHINESE[name]) for name in chosen if name in CHINESE),
            "instances": instances if "coco" in chosen else "",
            "guard": "guard",
        },
        filters={"contamination": {"guard": "guard"}},
        server={"concurrency": 64},
        export={"formats": ("records", "llava", "shards"), "image_size": 224},
    )


def _source(name: str) -> dict:
    return {"name": name, "root": f"data/{name}", "split": "train"}
