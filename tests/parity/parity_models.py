"""One tiny architecture, said in our configuration and in that of Hugging Face transformers."""

import numpy as np
import pytest

from zv_jax.models.presets import LlamaConfig, QFormerConfig, VisionConfig

torch = pytest.importorskip("torch")
hf = pytest.importorskip("transformers")

IMAGE, QUERIES = 90, 4
VISION = VisionConfig(image_size=28, width=32, layers=3, heads=4, mlp_width=48)
QFORMER = QFormerConfig(
    num_queries=QUERIES, width=24, layers=4, heads=3, mlp_width=40, vocab_size=70,
    max_positions=32, embed_dim=12, dropout=0.0,
)  # fmt: skip
LLM = LlamaConfig(
    vocab_size=96, width=32, layers=2, heads=4, kv_heads=2, mlp_width=56, max_positions=64
)


def t(array: np.ndarray):
    return torch.from_numpy(np.ascontiguousarray(array))


def pixels(images: np.ndarray):
    return t(images.transpose(0, 3, 1, 2))


def vision_fields() -> dict:
    return dict(
        hidden_size=VISION.width, intermediate_size=VISION.mlp_width, layer_norm_eps=1e-6,
        num_hidden_layers=VISION.layers, num_attention_heads=VISION.heads, patch_size=14,
        image_size=28, qkv_bias=True,
    )  # fmt: skip


def qformer_fields() -> dict:
    return dict(
        vocab_size=70, hidden_size=24, num_hidden_layers=4, num_attention_heads=3,
        intermediate_size=40, max_position_embeddings=32, layer_norm_eps=1e-12,
        cross_attention_frequency=2, encoder_hidden_size=VISION.width,
    )  # fmt: skip


def llama_config():
    return hf.LlamaConfig(
        vocab_size=96, hidden_size=32, intermediate_size=56, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
        rms_norm_eps=1e-6, tie_word_embeddings=False, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip


def blip_fields() -> dict:
    return dict(
        vision_config=vision_fields(), qformer_config=qformer_fields(),
        text_config=llama_config().to_dict(), num_query_tokens=QUERIES, image_token_index=IMAGE,
    )  # fmt: skip


def instructblip_config():
    return hf.InstructBlipConfig(**blip_fields())


def blip2_config():
    return hf.Blip2Config(**blip_fields())
