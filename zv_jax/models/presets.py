"""Architectures by name: the full-size models and small ones that differ only in numbers.

Sources: BLIP-2 / InstructBLIP as LAVIS builds them (EVA ViT-g/14, CLIP ViT-L/14, a BERT-base
Q-Former) and the published configuration of Ziya-LLaMA-13B; paper section 3.2.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from zv_jax.errors import unknown_name
from zv_jax.models.prompt import ZIYA, PromptConfig

DTYPES = ("float32", "bfloat16", "float16")
ROPE_SCALINGS = ("none", "linear", "llama3")
REMAT_POLICIES = ("none", "full", "names", "offload", "dots", "dots_no_batch")


@dataclass(frozen=True)
class VisionConfig:
    """A ViT of the EVA (`family="eva"`) or the CLIP (`family="clip"`) kind.

    EVA: convolution with bias, q and v biases but no k bias, exact GELU. CLIP: convolution without
    bias, full qkv bias, QuickGELU and a LayerNorm before the first block. Neither has a final
    norm; `ZiyaVisual` has `ln_vision` instead.
    """

    family: str = "eva"
    image_size: int = 224
    patch_size: int = 14
    width: int = 1408
    layers: int = 39
    heads: int = 16
    mlp_width: int = 6144
    norm_eps: float = 1e-6
    drop_path: float = 0.0
    ln_vision_eps: float = 1e-6
    drop_cls: bool = False

    @property
    def tokens(self) -> int:
        """Tokens that the Q-Former reads of one image."""
        return (self.image_size // self.patch_size) ** 2 + (0 if self.drop_cls else 1)


@dataclass(frozen=True)
class QFormerConfig:
    """A BERT encoder with learned queries and cross-attention in layers 0, 2, 4, ..."""

    num_queries: int = 32
    width: int = 768
    layers: int = 12
    heads: int = 12
    mlp_width: int = 3072
    vocab_size: int = 30523
    max_positions: int = 512
    norm_eps: float = 1e-12
    dropout: float = 0.1
    embed_dim: int = 256
    pre_proj_dim: int = 0  # 0: cross-attention reads the image features at their own width
    initial_temperature: float = 0.07


@dataclass(frozen=True)
class RopeScaling:
    """Scaling of rotary frequencies for contexts longer than in pre-training.

    `linear` divides all frequencies by `factor`. `llama3` divides only those with a wavelength
    above `original_positions / low_freq_factor`, keeps those with one below
    `original_positions / high_freq_factor`, and interpolates between them. `none` ignores the
    other fields.
    """

    kind: str = "none"
    factor: float = 1.0
    low_freq_factor: float = 1.0
    high_freq_factor: float = 4.0
    original_positions: int = 8192


@dataclass(frozen=True)
class LlamaConfig:
    """A LLaMA decoder; `kv_heads < heads` is grouped-query attention."""

    vocab_size: int = 39424
    width: int = 5120
    layers: int = 40
    heads: int = 40
    kv_heads: int = 40
    mlp_width: int = 13824
    max_positions: int = 2048
    norm_eps: float = 1e-6
    head_dim: int = 0  # 0: width / heads
    rope_theta: float = 10000.0
    rope_scaling: RopeScaling = field(default_factory=RopeScaling)
    attention_bias: bool = False  # of q, k, v and o
    mlp_bias: bool = False
    tie_embeddings: bool = False

    @property
    def key_dim(self) -> int:
        """Width of one query, key or value head."""
        return self.head_dim or self.width // self.heads


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters on every linear layer whose path matches `targets` (a full-match regex).

    An empty `targets` means no adapter. The update is scaled by `alpha / rank` (Hu et al. 2021).
    """

    targets: str = ""
    rank: int = 16
    alpha: float = 32.0
    dropout: float = 0.05


@dataclass(frozen=True)
class ModelConfig:
    """The architecture of Ziya-Visual; `dtype` computes, `param_dtype` stores trainable weights."""

    preset: str = "ziya_visual_chat_13b"
    vision: VisionConfig = field(default_factory=VisionConfig)
    qformer: QFormerConfig = field(default_factory=QFormerConfig)
    llm: LlamaConfig = field(default_factory=LlamaConfig)
    lora: LoraConfig = field(default_factory=LoraConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    qformer_sees_instruction: bool = True
    image_token_id: int = 39411
    dtype: str = "bfloat16"
    param_dtype: str = "float32"
    remat: str = "full"


# Adapters of the Chat model: the paper applies LoRA "in the ViT and LLM" without naming the
# layers; these are InstructBLIP users' common choice (fused qkv of the ViT, q and v of the LLM).
CHAT_LORA = r"vision/blocks/attn/qkv|llm/layers/attn/(q|v)"

EVA_G = VisionConfig()
CLIP_L = VisionConfig(family="clip", width=1024, layers=23, heads=16, mlp_width=4096, norm_eps=1e-5)
# Paper section 3.2: "from 256x768 to 64". ViT-g without its class token, a linear layer to 768.
PAPER_SHAPES = dict(
    vision=VisionConfig(drop_cls=True), qformer=QFormerConfig(num_queries=64, pre_proj_dim=768)
)
LLAMA_13B = LlamaConfig()
LLAMA_7B = LlamaConfig(width=4096, layers=32, heads=32, kv_heads=32, mlp_width=11008)


def _base(name: str, **parts: object) -> ModelConfig:
    return ModelConfig(preset=name, prompt=ZIYA, qformer_sees_instruction=False, **parts)


def _chat(name: str, *, rank: int = 16, dropout: float = 0.05, **parts: object) -> ModelConfig:
    lora = LoraConfig(targets=CHAT_LORA, rank=rank, alpha=2.0 * rank, dropout=dropout)
    return ModelConfig(preset=name, prompt=ZIYA, qformer_sees_instruction=True, lora=lora, **parts)


_TINY = dict(
    vision=VisionConfig(image_size=28, patch_size=14, width=32, layers=2, heads=4, mlp_width=64),
    qformer=QFormerConfig(
        num_queries=4,
        width=32,
        layers=2,
        heads=4,
        mlp_width=64,
        vocab_size=128,
        max_positions=64,
        embed_dim=16,
        dropout=0.0,
    ),
    llm=LlamaConfig(
        vocab_size=128, width=48, layers=2, heads=4, kv_heads=2, mlp_width=96, max_positions=128
    ),
    image_token_id=127,
    dtype="float32",
    remat="none",
)

_SMALL = dict(
    vision=VisionConfig(
        image_size=112, patch_size=14, width=384, layers=12, heads=6, mlp_width=1536
    ),
    qformer=QFormerConfig(width=384, layers=6, heads=6, mlp_width=1536, max_positions=512),
    llm=LlamaConfig(vocab_size=32768, width=512, layers=8, heads=8, kv_heads=8, mlp_width=1408),
    image_token_id=32767,
    remat="none",
)

# Trained from scratch on two CPU cores within the minutes of the quickstart.
_QUICKSTART = dict(
    vision=VisionConfig(image_size=72, patch_size=12, width=192, layers=4, heads=4, mlp_width=384),
    qformer=QFormerConfig(
        num_queries=18,  # the warm-up shows 17 symbols: a background, four boxes of four sides
        width=192,
        layers=2,
        heads=4,
        mlp_width=384,
        vocab_size=1152,
        max_positions=128,
        embed_dim=64,
        dropout=0.0,
    ),
    llm=LlamaConfig(
        vocab_size=1152,
        width=192,
        layers=3,
        heads=4,
        kv_heads=2,
        mlp_width=512,
        max_positions=512,
        tie_embeddings=True,
    ),
    image_token_id=1151,
    dtype="float32",
    remat="none",
)

PRESETS: dict[str, ModelConfig] = {
    config.preset: config
    for config in (
        _base("ziya_visual_base_13b"),
        _chat("ziya_visual_chat_13b"),
        _base("ziya_visual_base_7b", llm=LLAMA_7B),
        _chat("ziya_visual_chat_7b", llm=LLAMA_7B),
        _base("ziya_visual_base_13b_clip_l", vision=CLIP_L),
        _base("ziya_visual_base_13b_256x768", **PAPER_SHAPES),
        _chat("ziya_visual_chat_13b_256x768", **PAPER_SHAPES),
        _base("ziya_visual_base_7b_256x768", llm=LLAMA_7B, **PAPER_SHAPES),
        _chat("ziya_visual_chat_7b_256x768", llm=LLAMA_7B, **PAPER_SHAPES),
        _base("small_base", **_SMALL),
        _chat("small_chat", **_SMALL),
        _base("quickstart_base", **_QUICKSTART),
        _chat("quickstart_chat", rank=8, dropout=0.0, **_QUICKSTART),
        _base("tiny_base", **_TINY),
        _chat("tiny_chat", rank=4, dropout=0.0, **_TINY),
    )
}


def preset(name: str) -> ModelConfig:
    """The architecture called `name`.

    Raises:
        ConfigError: no preset has that name.
    """
    if name not in PRESETS:
        raise unknown_name(
            "model preset",
            name,
            sorted(PRESETS),
            "model.preset",
            fix="pass the name after the config file: configs/stage1.py:tiny_chat",
        )
    return PRESETS[name]


def as_dict(config: ModelConfig) -> dict:
    """The nested plain dictionary that configs and checkpoints contain."""
    return dataclasses.asdict(config)
