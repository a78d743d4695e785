"""Bilingual pairs about 200 scenes of the embedded data set; any small server will do.

    export ZV_BMMIC_URL=http://localhost:8000/v1 ZV_BMMIC_MODEL=NAME
    zv bmmic run --config configs/bmmic/quickstart.py --workdir runs/bmmic

1,200 requests, and as many again for 40 % of the single questions. Result: runs/bmmic/export with
records, shards, TFDS, Parquet, LLaVA JSON and a card. Training on it: docs/bmmic.md.
"""

import ml_collections

from zv_jax.bmmic.config import recipe


def get_config() -> ml_collections.ConfigDict:
    """The recipe."""
    return recipe(
        shard_size=100,
        symbols={"sources": ({"name": "zv_openmoji"},), "limit": 200},
        server={"concurrency": 4},
        generate={"shots": 1},
    )
