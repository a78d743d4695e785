"""A language model of ten words, small enough to score every continuation."""

import jax
import numpy as np

from zv_jax.models.axes import unboxed
from zv_jax.models.presets import LlamaConfig, ModelConfig, QFormerConfig, VisionConfig
from zv_jax.models.ziya_visual import ZiyaVisual

WORDS, EOS, PAD, IMAGE = 10, 2, 0, 9
STOP, NEVER = np.array([EOS], np.int32), np.array([-1], np.int32)
CFG = ModelConfig(
    vision=VisionConfig(image_size=28, width=8, layers=1, heads=1, mlp_width=8),
    qformer=QFormerConfig(num_queries=2, width=8, layers=2, heads=1, mlp_width=8, vocab_size=8),
    llm=LlamaConfig(
        vocab_size=WORDS, width=16, layers=1, heads=2, kv_heads=1, mlp_width=16, max_positions=32
    ),
    image_token_id=IMAGE, dtype="float32", remat="none",
)  # fmt: skip
IDS = np.array([[PAD, 3, 4, 5], [6, 7, 3, 1]], np.int32)
MASK = IDS != PAD
MASK[1] = True


def random_variables() -> dict:
    """Leaves of which every word has its own taste."""
    shapes = unboxed(jax.eval_shape(ZiyaVisual(CFG).init, jax.random.key(0), None, IDS, MASK))
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: rng.standard_normal(x.shape).astype("f4"), shapes)
