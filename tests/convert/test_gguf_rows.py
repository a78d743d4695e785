"""The order of rows in GGUF, by hand; `tests/parity/test_gguf.py` reads whole files of it."""

import numpy as np

from zv_jax.convert import gguf
from zv_jax.models.presets import LlamaConfig


def test_rows_of_queries_and_keys_lie_in_halves():
    """Two heads of four rows: a pair that turns together lies side by side in llama.cpp, and half
    a head apart here."""
    llm = LlamaConfig(width=8, heads=2, kv_heads=1)
    entries = {row.theirs[0]: row for row in gguf.family(llm).entries}

    def order(name, rows):
        (kernel,) = entries[name].transform.load(np.arange(rows)[:, None])
        return kernel[0].tolist()

    assert order("blk.{}.attn_q.weight", 8) == [0, 2, 1, 3, 4, 6, 5, 7]
    assert order("blk.{}.attn_k.weight", 4) == [0, 2, 1, 3]
    assert order("blk.{}.attn_v.weight", 4) == [0, 1, 2, 3]
