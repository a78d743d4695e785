"""Sizes of the full models, by shapes alone: nothing is allocated."""

from collections import Counter

import pytest

from zv_jax import trees
from zv_jax.config import recipe, validate
from zv_jax.models.axes import unboxed
from zv_jax.stages import stage_of
from zv_jax.training.state import abstract_variables

LLM_13B = 13_091_886_080
EVA_G = 985_894_528
K_BIAS = 39 * 1408  # zeros that Hugging Face stores and LAVIS does not


def shapes(preset: str, stage: str, queries: int = 64) -> dict:
    variant = "chat" if "chat" in preset else "base"
    config = validate(
        recipe(
            preset,
            stage={"name": stage, "variant": variant},
            model={"qformer": {"num_queries": queries}},
        )
    )
    return trees.flatten(unboxed(abstract_variables(config, stage_of(config))))


def towers(leaves: dict) -> Counter:
    sizes = Counter()
    for path, leaf in leaves.items():
        sizes["/".join(path.split("/")[:2])] += leaf.size
    return sizes


def test_chat_13b_matches_instructblip_with_ziya_llama():
    leaves = shapes("ziya_visual_chat_13b", "stage1")
    sizes = towers(leaves)
    assert sizes["params/vision"] == EVA_G
    assert leaves["params/qformer/query_tokens"].shape == (1, 64, 768)
    assert sizes["params/qformer"] == 185_660_160 + 49_152
    assert sizes["params/ln_vision"] == 2 * 1408
    assert sizes["params/projector"] == 3_937_280
    assert sizes["params/llm"] == LLM_13B
    assert sum(sizes.values()) + K_BIAS == 14_267_484_928


def test_base_13b_has_no_text_half():
    leaves = shapes("ziya_visual_base_13b", "stage1", queries=32)
    assert sum(towers(leaves).values()) + K_BIAS == 14_186_937_856
    assert not any("ffn_text" in path or "qformer/word" in path for path in leaves)


def test_stage_0_has_heads_and_no_language_model():
    sizes = towers(shapes("ziya_visual_chat_13b", "stage0"))
    text_head = 768 * 768 + 768 + 2 * 768 + 30_523  # the output layer is tied to the word table
    assert sizes["params/qformer"] == 185_660_160 + 49_152 + text_head
    assert sizes["params/heads"] == 2 * (768 * 256 + 256) + (768 * 2 + 2) + 1
    assert "params/llm" not in sizes and "params/projector" not in sizes


def test_stage_2_chat_adds_the_adapters_only():
    sizes = towers(shapes("ziya_visual_chat_13b", "stage2"))
    assert sizes["lora/llm"] == 40 * 2 * (5120 + 5120) * 16
    assert sizes["lora/vision"] == 39 * (1408 + 4224) * 16
    assert sizes["params/llm"] == LLM_13B and sizes["params/vision"] == EVA_G


@pytest.mark.parametrize(
    "preset, tower, expected",
    [
        # 23 blocks of CLIP ViT-L/14, patches without bias, table of 257 positions, ln_pre.
        (
            "ziya_visual_base_13b_clip_l",
            "vision",
            23 * (4 * 1024**2 + 4 * 1024 + 2 * 1024 * 4096 + 4096 + 1024 + 4 * 1024)
            + 588 * 1024
            + 257 * 1024
            + 1024
            + 2 * 1024,
        ),
        # LLaMA 7B has 6,738,415,616 parameters with 32,000 rows; here both tables have 39,424.
        ("ziya_visual_base_7b", "llm", 6_738_415_616 + 2 * (39_424 - 32_000) * 4096),
        ("ziya_visual_chat_7b", "llm", 6_738_415_616 + 2 * (39_424 - 32_000) * 4096),
        ("ziya_visual_base_7b", "projector", 768 * 4096 + 4096),
    ],
)
def test_other_presets(preset, tower, expected):
    assert towers(shapes(preset, "stage1"))[f"params/{tower}"] == expected
