"""Bilingual pairs about a folder of bare images: tags, boxes and masks come from models.

    pip install -e ".[annotate]"
    hf download florence-community/Florence-2-base   # and the others below
    zv bmmic symbols --config configs/bmmic/annotate.py --workdir runs/mine \\
        --config.annotate.device=cuda
    zv bmmic run --config configs/bmmic/annotate.py --workdir runs/mine \\
        --config.annotate.device=cuda

Images are below `data/images`, at any depth. The word after the file: `grounded_sam` (Florence-2,
Grounding DINO, SAM 2) or `sam3` (Florence-2, SAM 3 for boxes and masks in one pass). Set
symbols.licence to the licence of your images: without one the detector drops every pair.

Evidence. From the paper's Figure 1: tags -> boxes -> masks (Grounded-SAM, with RAM as the tagger).
Not in the paper: the models of today in their places, every threshold.
"""

import ml_collections

from zv_jax.bmmic.config import recipe
from zv_jax.errors import unknown_name

WAYS = {
    "grounded_sam": {
        "detector": {"kind": "grounding_dino", "model": "IDEA-Research/grounding-dino-base"},
        "segmenter": {"kind": "sam2", "model": "facebook/sam2.1-hiera-large"},
    },
    "sam3": {"detector": {"kind": "sam3", "model": "facebook/sam3", "threshold": 0.5}},
}


def get_config(arg: str = "grounded_sam") -> ml_collections.ConfigDict:
    """`arg`: which models.

    Raises:
        ConfigError: another name.
    """
    if arg not in WAYS:
        raise unknown_name("way to annotate", arg, WAYS, "configs/bmmic/annotate.py")
    tagger = {"kind": "florence2", "model": "florence-community/Florence-2-base"}
    return recipe(
        symbols={"sources": ({"name": "images", "root": "data/images"},)},
        annotate={"tagger": tagger, **WAYS[arg]},
    )
