"""The model in plain PyTorch: EVA ViT -> Q-Former -> projector -> LLaMA, written for comparison.

Modules carry the names of ours, so that parameters are copied by name (`torch_weights.py`).
Attention is `scaled_dot_product_attention`; there is no dropout, remat or compilation.
"""

from __future__ import annotations

import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from zv_jax.config import Config
from zv_jax.models.presets import LlamaConfig, LoraConfig, ModelConfig, QFormerConfig, VisionConfig
from zv_jax.models.vit import MEAN, STD

Kept = tuple[Tensor, Tensor]  # keys and values of a layer, [B, H, S, K]


class Linear(nn.Linear):
    """`nn.Linear` with an adapter where `path` matches `lora.targets`."""

    def __init__(
        self,
        inputs: int,
        outputs: int,
        bias: bool = True,
        path: str = "",
        lora: LoraConfig | None = None,
    ):
        super().__init__(inputs, outputs, bias)
        self.scale = 0.0
        if lora is not None and lora.targets and re.fullmatch(lora.targets, path):
            self.scale = lora.alpha / lora.rank
            self.lora_a = nn.Parameter(torch.zeros(inputs, lora.rank))
            self.lora_b = nn.Parameter(torch.zeros(lora.rank, outputs))

    def forward(self, x: Tensor, bias: Tensor | None = None) -> Tensor:
        y = F.linear(x, self.weight, self.bias if bias is None else bias)
        return y + (x @ self.lora_a) @ self.lora_b * self.scale if self.scale else y


def heads_first(x: Tensor, heads: int) -> Tensor:
    """[B, T, H * K] -> [B, H, T, K]."""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def heads_last(x: Tensor) -> Tensor:
    """[B, H, T, K] -> [B, T, H * K]."""
    return x.transpose(1, 2).flatten(2)


class VisionAttention(nn.Module):
    def __init__(self, cfg: VisionConfig, lora: LoraConfig):
        super().__init__()
        self.heads = cfg.heads
        path = "vision/blocks/attn/"
        self.qkv = Linear(cfg.width, 3 * cfg.width, False, path + "qkv", lora)
        self.q_bias = nn.Parameter(torch.zeros(cfg.width))
        self.v_bias = nn.Parameter(torch.zeros(cfg.width))
        self.out = Linear(cfg.width, cfg.width, True, path + "out", lora)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        q, k, v = (heads_first(part, self.heads) for part in self.qkv(x, bias).chunk(3, -1))
        return self.out(heads_last(F.scaled_dot_product_attention(q, k, v)))


class VisionBlock(nn.Module):
    def __init__(self, cfg: VisionConfig, lora: LoraConfig):
        super().__init__()
        self.ln1 = nn.LayerNorm(cfg.width, cfg.norm_eps)
        self.attn = VisionAttention(cfg, lora)
        self.ln2 = nn.LayerNorm(cfg.width, cfg.norm_eps)
        self.fc1 = Linear(cfg.width, cfg.mlp_width, True, "vision/blocks/fc1", lora)
        self.fc2 = Linear(cfg.mlp_width, cfg.width, True, "vision/blocks/fc2", lora)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.ln1(x))
        return x + self.fc2(F.gelu(self.fc1(self.ln2(x))))


class Vision(nn.Module):
    """EVA at its own image size."""

    def __init__(self, cfg: VisionConfig, lora: LoraConfig):
        super().__init__()
        self.size = cfg.patch_size
        self.patch = Linear(3 * cfg.patch_size**2, cfg.width)
        self.cls = nn.Parameter(torch.zeros(1, 1, cfg.width))
        side = cfg.image_size // cfg.patch_size
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + side * side, cfg.width))
        self.blocks = nn.ModuleList(VisionBlock(cfg, lora) for _ in range(cfg.layers))

    def forward(self, images: Tensor) -> Tensor:
        """[B, H, W, 3] -> [B, P, D], the CLS token first."""
        patches = images.unflatten(1, (-1, self.size)).unflatten(3, (-1, self.size))
        x = self.patch(patches.transpose(2, 3).flatten(1, 2).flatten(2))
        x = torch.cat([self.cls.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return x


class BertAttention(nn.Module):
    def __init__(self, cfg: QFormerConfig, source: int):
        super().__init__()
        self.heads = cfg.heads
        self.q = Linear(cfg.width, cfg.width)
        self.k, self.v = Linear(source, cfg.width), Linear(source, cfg.width)
        self.out = Linear(cfg.width, cfg.width)
        self.ln = nn.LayerNorm(cfg.width, cfg.norm_eps)

    def forward(
        self, x: Tensor, source: Tensor, mask: Tensor | None, past: Kept | None = None
    ) -> tuple[Tensor, Kept]:
        """The outputs, and the keys and values; those of `past` come before them."""
        q, k, v = self.q(x), self.k(source), self.v(source)
        q, k, v = (heads_first(part, self.heads) for part in (q, k, v))
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.ln(x + self.out(heads_last(y))), (k, v)


class BertFeedForward(nn.Module):
    def __init__(self, cfg: QFormerConfig):
        super().__init__()
        self.fc1 = Linear(cfg.width, cfg.mlp_width)
        self.fc2 = Linear(cfg.mlp_width, cfg.width)
        self.ln = nn.LayerNorm(cfg.width, cfg.norm_eps)

    def forward(self, x: Tensor) -> Tensor:
        return self.ln(x + self.fc2(F.gelu(self.fc1(x))))


class QFormerLayer(nn.Module):
    def __init__(self, cfg: QFormerConfig, image: int, cross: bool, text: bool):
        super().__init__()
        self.self = BertAttention(cfg, cfg.width)
        self.cross = BertAttention(cfg, image) if cross else None
        self.ffn_query = BertFeedForward(cfg)
        self.ffn_text = BertFeedForward(cfg) if text else None

    def forward(
        self,
        x: Tensor,
        image: Tensor | None,
        mask: Tensor | None,
        count: int,
        past: Kept | None = None,
    ) -> tuple[Tensor, Kept]:
        """x holds `count` queries, then the text."""
        x, kept = self.self(x, x, mask, past)
        parts = []
        if count:
            queries = x[:, :count]
            if self.cross is not None:
                queries, _ = self.cross(queries, image, None)
            parts.append(self.ffn_query(queries))
        if x.shape[1] > count:
            parts.append(self.ffn_text(x[:, count:]))
        return (torch.cat(parts, 1) if len(parts) > 1 else parts[0]), kept


class TextHead(nn.Module):
    def __init__(self, cfg: QFormerConfig):
        super().__init__()
        self.dense = Linear(cfg.width, cfg.width)
        self.ln = nn.LayerNorm(cfg.width, cfg.norm_eps)
        self.bias = nn.Parameter(torch.zeros(cfg.vocab_size))

    def forward(self, hidden: Tensor, word: nn.Embedding) -> Tensor:
        return F.linear(self.ln(F.gelu(self.dense(hidden))), word.weight, self.bias)


class QFormer(nn.Module):
    def __init__(self, cfg: QFormerConfig, image: int, text: bool, head: bool):
        super().__init__()
        self.count = cfg.num_queries
        self.query_tokens = nn.Parameter(torch.zeros(1, cfg.num_queries, cfg.width))
        self.ln = nn.LayerNorm(cfg.width, cfg.norm_eps)
        if text:
            self.word = nn.Embedding(cfg.vocab_size, cfg.width)
            self.position = nn.Embedding(cfg.max_positions, cfg.width)
        if head:
            self.text_head = TextHead(cfg)
        self.pairs = nn.ModuleList(
            nn.ModuleDict(
                {
                    "even": QFormerLayer(cfg, image, True, text),
                    "odd": QFormerLayer(cfg, image, False, text),
                }
            )
            for _ in range(cfg.layers // 2)
        )

    def forward(
        self, image: Tensor | None, ids: Tensor | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Outputs of queries and text; mask bool [B, 1, N, N] over both, True where allowed."""
        return self.keeping(image, ids, mask)[:2]

    def keeping(
        self,
        image: Tensor | None,
        ids: Tensor | None = None,
        mask: Tensor | None = None,
        past: list[Kept] | None = None,
    ) -> tuple[Tensor, Tensor, list[Kept]]:
        """The same, and the keys and values of every layer; those of `past` come before them."""
        parts = []
        if image is not None:
            parts.append(self.ln(self.query_tokens).expand(len(image), -1, -1))
        if ids is not None:
            positions = torch.arange(ids.shape[1])
            parts.append(self.ln(self.word(ids) + self.position(positions)))
        count = self.count if image is not None else 0
        x = torch.cat(parts, 1)
        layers = [layer for pair in self.pairs for layer in (pair["even"], pair["odd"])]
        before, kept = past or [None] * len(layers), []
        for layer, one in zip(layers, before, strict=True):
            x, own = layer(x, image, mask, count, one)
            kept.append(own)
        return x[:, :count], x[:, count:], kept


def joint_mask(queries: int, text_mask: Tensor) -> Tensor:
    """Queries and text see each other, bool [B, 1, 1, Q + T]; 0 queries: text alone."""
    return F.pad(text_mask, (queries, 0), value=True)[:, None, None]


def caption_mask(queries: int, text_mask: Tensor) -> Tensor:
    """Text sees queries and earlier text, queries see queries, bool [B, 1, N, N]."""
    length = queries + text_mask.shape[1]
    allowed = torch.ones(length, length, dtype=torch.bool).tril()
    allowed[:queries, :queries] = True
    return joint_mask(queries, text_mask) & allowed


class DecoderLayer(nn.Module):
    def __init__(self, cfg: LlamaConfig, lora: LoraConfig):
        super().__init__()
        self.heads, self.kv_heads = cfg.heads, cfg.kv_heads
        kv_width = cfg.width // cfg.heads * cfg.kv_heads

        def linear(inputs: int, outputs: int, name: str) -> Linear:
            return Linear(inputs, outputs, False, "llm/layers/" + name, lora)

        self.ln_attn = nn.RMSNorm(cfg.width, cfg.norm_eps)
        self.attn = nn.ModuleDict(
            {
                "q": linear(cfg.width, cfg.width, "attn/q"),
                "k": linear(cfg.width, kv_width, "attn/k"),
                "v": linear(cfg.width, kv_width, "attn/v"),
                "o": linear(cfg.width, cfg.width, "attn/o"),
            }
        )
        self.ln_mlp = nn.RMSNorm(cfg.width, cfg.norm_eps)
        self.gate = linear(cfg.width, cfg.mlp_width, "gate")
        self.up = linear(cfg.width, cfg.mlp_width, "up")
        self.down = linear(cfg.mlp_width, cfg.width, "down")

    def forward(self, x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
        y = self.ln_attn(x)
        q = rotate(heads_first(self.attn["q"](y), self.heads), rope)
        k = rotate(heads_first(self.attn["k"](y), self.kv_heads), rope)
        v = heads_first(self.attn["v"](y), self.kv_heads)
        # Rows are padded on the right, so causality alone keeps padding from the real tokens.
        y = F.scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=self.heads != self.kv_heads
        )
        x = x + self.attn["o"](heads_last(y))
        y = self.ln_mlp(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def rotate(x: Tensor, rope: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding, halves rotated; x [B, H, T, K]."""
    left, right = x.chunk(2, -1)
    return x * rope[0] + torch.cat([-right, left], -1) * rope[1]


class Llama(nn.Module):
    def __init__(self, cfg: LlamaConfig, lora: LoraConfig):
        super().__init__()
        self.cfg = cfg
        self.embed = nn.Embedding(cfg.vocab_size, cfg.width)
        self.layers = nn.ModuleList(DecoderLayer(cfg, lora) for _ in range(cfg.layers))
        self.norm = nn.RMSNorm(cfg.width, cfg.norm_eps)
        if not cfg.tie_embeddings:
            self.lm_head = Linear(cfg.width, cfg.vocab_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Embeddings of right-padded rows [B, T, D] -> normalised hidden states."""
        dim = self.cfg.width // self.cfg.heads
        frequency = self.cfg.rope_theta ** (-torch.arange(0, dim, 2, dtype=torch.float32) / dim)
        angle = torch.arange(x.shape[1], dtype=torch.float32)[:, None] * frequency
        angle = torch.cat([angle, angle], -1)
        rope = angle.cos(), angle.sin()
        for layer in self.layers:
            x = layer(x, rope)
        return self.norm(x)

    def logits(self, hidden: Tensor) -> Tensor:
        if self.cfg.tie_embeddings:
            return F.linear(hidden, self.embed.weight)
        return self.lm_head(hidden)


class Heads(nn.Module):
    def __init__(self, cfg: QFormerConfig):
        super().__init__()
        self.vision_proj = Linear(cfg.width, cfg.embed_dim)
        self.text_proj = Linear(cfg.width, cfg.embed_dim)
        self.itm = Linear(cfg.width, 2)
        self.temperature = nn.Parameter(torch.tensor(cfg.initial_temperature))


class TorchZiyaVisual(nn.Module):
    """The parts that the stage of `config` has."""

    def __init__(self, config: Config):
        super().__init__()
        cfg: ModelConfig = config.model
        pairs, chat = config.stage.name == "stage0", config.stage.variant == "chat"
        lora = cfg.lora if chat and config.stage.name == "stage2" else LoraConfig()
        self.chat = chat
        self.image_token_id = cfg.image_token_id
        self.vision = Vision(cfg.vision, lora)
        self.ln_vision = nn.LayerNorm(cfg.vision.width, cfg.vision.ln_vision_eps)
        self.qformer = QFormer(cfg.qformer, cfg.vision.width, pairs or chat, pairs)
        if pairs:
            self.heads = Heads(cfg.qformer)
        else:
            self.projector = Linear(cfg.qformer.width, cfg.llm.width)
            self.llm = Llama(cfg.llm, lora)

    def encode_images(self, images: Tensor) -> Tensor:
        """uint8 [B, H, W, 3] -> [B, P, D]; a wholly frozen ViT runs without recording gradients."""
        deviation = torch.tensor(STD)
        images = images * (1 / (255 * deviation)) - torch.tensor(MEAN) / deviation
        trains = any(parameter.requires_grad for parameter in self.vision.parameters())
        with torch.set_grad_enabled(trains and torch.is_grad_enabled()):
            features = self.vision(images)
        return self.ln_vision(features)

    def hidden(
        self, images: Tensor, input_ids: Tensor, instruction: Tensor, instruction_mask: Tensor
    ) -> Tensor:
        """Hidden states of rows that all hold as many images as `images` [B, I, H, W, 3]."""
        count = images.shape[1]
        features = self.encode_images(images.flatten(0, 1))
        ids = mask = None
        if self.chat:
            ids = instruction.repeat_interleave(count, 0)
            mask = joint_mask(self.qformer.count, instruction_mask.repeat_interleave(count, 0))
        visual = self.projector(self.qformer(features, ids, mask)[0])
        is_image = input_ids == self.image_token_id
        embeds = self.llm.embed(input_ids.masked_fill(is_image, 0))
        embeds = embeds.masked_scatter(is_image[..., None], visual.to(embeds.dtype))
        return self.llm(embeds)
