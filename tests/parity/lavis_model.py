"""LAVIS's models restated in PyTorch: parameter names, the five passes of the first stage, and
InstructBLIP with a LLaMA.

Written from the published descriptions (BLIP-2, Li et al. 2023, sections 3.2 and 3.3; InstructBLIP,
Dai et al. 2023, section 2.3; salesforce/LAVIS, models/blip2_models). First stage: queries alone,
their keys and values kept; text alone; matching on three times the batch; captions that read
the kept keys and values. Ours computes the same in fewer passes, so agreement says something.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASKED = -10_000.0
Cached = tuple[Tensor, Tensor]


class Sizes(NamedTuple):
    image: int = 28
    patch: int = 14
    vision: int = 32
    blocks: int = 2
    vision_heads: int = 4
    vision_mlp: int = 48
    queries: int = 5
    width: int = 24
    layers: int = 4
    heads: int = 3
    mlp: int = 40
    vocab: int = 70
    positions: int = 64
    embed: int = 12


def heads_first(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def attention(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None) -> Tensor:
    """q, k, v [B, H, T, K] -> [B, T, H * K]."""
    scores = q @ k.mT / q.shape[-1] ** 0.5
    if bias is not None:
        scores = scores + bias
    return (scores.softmax(-1) @ v).transpose(1, 2).flatten(2)


class EvaAttention(nn.Module):
    def __init__(self, s: Sizes):
        super().__init__()
        self.heads = s.vision_heads
        self.q_bias = nn.Parameter(torch.zeros(s.vision))
        self.v_bias = nn.Parameter(torch.zeros(s.vision))
        self.qkv = nn.Linear(s.vision, 3 * s.vision, bias=False)
        self.proj = nn.Linear(s.vision, s.vision)

    def forward(self, x: Tensor) -> Tensor:
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        qkv = F.linear(x, self.qkv.weight, bias)
        return self.proj(attention(*(heads_first(p, self.heads) for p in qkv.chunk(3, -1)), None))


class EvaBlock(nn.Module):
    def __init__(self, s: Sizes):
        super().__init__()
        self.norm1 = nn.LayerNorm(s.vision, 1e-6)
        self.attn = EvaAttention(s)
        self.norm2 = nn.LayerNorm(s.vision, 1e-6)
        self.mlp = nn.ModuleDict(
            {
                "fc1": nn.Linear(s.vision, s.vision_mlp),
                "fc2": nn.Linear(s.vision_mlp, s.vision),
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Eva(nn.Module):
    def __init__(self, s: Sizes):
        super().__init__()
        self.cls_token = nn.Parameter(torch.zeros(1, 1, s.vision))
        self.pos_embed = nn.Parameter(torch.zeros(1, 1 + (s.image // s.patch) ** 2, s.vision))
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(3, s.vision, s.patch, s.patch)})
        self.blocks = nn.ModuleList(EvaBlock(s) for _ in range(s.blocks))

    def forward(self, images: Tensor) -> Tensor:
        x = self.patch_embed["proj"](images).flatten(2).mT
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return x


class Output(nn.Module):
    """Linear, residual, LayerNorm."""

    def __init__(self, inputs: int, width: int):
        super().__init__()
        self.dense = nn.Linear(inputs, width)
        self.LayerNorm = nn.LayerNorm(width, 1e-12)

    def forward(self, x: Tensor, residual: Tensor) -> Tensor:
        return self.LayerNorm(self.dense(x) + residual)


class BertAttention(nn.Module):
    def __init__(self, s: Sizes, source: int):
        super().__init__()
        self.heads = s.heads
        self.self = nn.ModuleDict(
            {
                "query": nn.Linear(s.width, s.width),
                "key": nn.Linear(source, s.width),
                "value": nn.Linear(source, s.width),
            }
        )
        self.output = Output(s.width, s.width)

    def forward(
        self, x: Tensor, source: Tensor, bias: Tensor | None, past: Cached | None = None
    ) -> tuple[Tensor, Cached]:
        q, k, v = (
            heads_first(self.self[name](values), self.heads)
            for name, values in (("query", x), ("key", source), ("value", source))
        )
        if past is not None:
            k, v = torch.cat([past[0], k], 2), torch.cat([past[1], v], 2)
        return self.output(attention(q, k, v, bias), x), (k, v)


class BertLayer(nn.Module):
    def __init__(self, s: Sizes, cross: bool):
        super().__init__()
        self.attention = BertAttention(s, s.width)
        self.cross = cross
        if cross:
            self.crossattention = BertAttention(s, s.vision)
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(s.width, s.mlp)})
        self.output = Output(s.mlp, s.width)
        self.intermediate_query = nn.ModuleDict({"dense": nn.Linear(s.width, s.mlp)})
        self.output_query = Output(s.mlp, s.width)

    def forward(
        self, x: Tensor, image: Tensor | None, count: int, bias: Tensor, past: Cached | None
    ) -> tuple[Tensor, Cached]:
        x, cached = self.attention(x, x, bias, past)
        queries, text = x[:, :count], x[:, count:]
        if count:
            if self.cross:
                queries = self.crossattention(queries, image, None)[0]
            inner = F.gelu(self.intermediate_query["dense"](queries))
            queries = self.output_query(inner, queries)
        text = self.output(F.gelu(self.intermediate["dense"](text)), text)
        return torch.cat([queries, text], 1), cached


class Embeddings(nn.Module):
    def __init__(self, s: Sizes):
        super().__init__()
        self.register_buffer("position_ids", torch.arange(s.positions)[None])
        self.word_embeddings = nn.Embedding(s.vocab, s.width)
        self.position_embeddings = nn.Embedding(s.positions, s.width)
        self.LayerNorm = nn.LayerNorm(s.width, 1e-12)

    def forward(self, ids: Tensor | None, queries: Tensor | None) -> Tensor:
        parts = [] if queries is None else [queries]
        if ids is not None:
            positions = self.position_ids[0, : ids.shape[1]]
            parts.append(self.word_embeddings(ids) + self.position_embeddings(positions))
        return self.LayerNorm(torch.cat(parts, 1))


class Bert(nn.Module):
    def __init__(self, s: Sizes):
        super().__init__()
        self.embeddings = Embeddings(s)
        layers = nn.ModuleList(BertLayer(s, i % 2 == 0) for i in range(s.layers))
        self.encoder = nn.ModuleDict({"layer": layers})

    def forward(
        self,
        ids: Tensor | None = None,
        mask: Tensor | None = None,
        queries: Tensor | None = None,
        image: Tensor | None = None,
        past: list[Cached] | None = None,
    ) -> tuple[Tensor, list[Cached]]:
        """`mask` [B, S] covers all keys; with `past`, the text is causal behind it."""
        x = self.embeddings(ids, queries)
        allowed = torch.ones(x.shape[:2]) if mask is None else mask
        bias = allowed[:, None, None].float()
        if past is not None:
            rows, keys = x.shape[1], allowed.shape[1]
            bias = bias * torch.ones(rows, keys).tril(keys - rows)
        bias = (1 - bias) * MASKED
        count = 0 if queries is None else queries.shape[1]
        cached = []
        for i, layer in enumerate(self.encoder["layer"]):
            x, kept = layer(x, image, count, bias, None if past is None else past[i])
            cached.append(kept)
        return x, cached


class Predictions(nn.Module):
    """BERT's prediction head; `decoder` shares its matrix with the word table."""

    def __init__(self, s: Sizes, word: nn.Embedding):
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(s.vocab))
        self.transform = nn.ModuleDict(
            {"dense": nn.Linear(s.width, s.width), "LayerNorm": nn.LayerNorm(s.width, 1e-12)}
        )
        self.decoder = nn.Linear(s.width, s.vocab)
        self.decoder.weight, self.decoder.bias = word.weight, self.bias

    def forward(self, x: Tensor) -> Tensor:
        x = self.transform["LayerNorm"](F.gelu(self.transform["dense"](x)))
        return self.decoder(x)


class Blip2Qformer(nn.Module):
    """State-dictionary names as in `blip2_pretrained.pth`, heads and `temp` included."""

    def __init__(self, s: Sizes, ln_vision_eps: float = 1e-5):
        super().__init__()
        self.visual_encoder = Eva(s)
        self.ln_vision = nn.LayerNorm(s.vision, ln_vision_eps)
        self.query_tokens = nn.Parameter(torch.zeros(1, s.queries, s.width))
        bert = Bert(s)
        predictions = Predictions(s, bert.embeddings.word_embeddings)
        self.Qformer = nn.ModuleDict(
            {"bert": bert, "cls": nn.ModuleDict({"predictions": predictions})}
        )
        self.vision_proj = nn.Linear(s.width, s.embed)
        self.text_proj = nn.Linear(s.width, s.embed)
        self.itm_head = nn.Linear(s.width, 2)
        self.temp = nn.Parameter(torch.tensor(0.07))

    def losses(
        self, images: Tensor, ids: Tensor, mask: Tensor, negatives: tuple[Tensor, Tensor],
        bos: int, gathered_gradient: bool,
    ) -> dict[str, Tensor]:  # fmt: skip
        """ITC, ITM and ITG.

        Args:
            images: [B, 3, S, S]; ids int [B, T]; mask int [B, T].
            negatives: the image for each text and the text for each image, int [B].
            bos: id that replaces [CLS] for captions.
            gathered_gradient: False as on several GPUs, where what was gathered is constant.
        """
        bert, batch = self.Qformer["bert"], len(ids)
        image = self.ln_vision(self.visual_encoder(images))
        queries = self.query_tokens.expand(batch, -1, -1)

        hidden, past = bert(queries=queries, image=image)
        image_side = F.normalize(self.vision_proj(hidden), dim=-1)
        hidden, _ = bert(ids, mask)
        text_side = F.normalize(self.text_proj(hidden[:, 0]), dim=-1)
        all_images, all_texts = image_side, text_side
        if not gathered_gradient:
            all_images, all_texts = image_side.detach(), text_side.detach()
        to_text = (image_side[:, None] @ all_texts[None, :, :, None])[..., 0].amax(-1)
        to_image = (all_images[None] @ text_side[:, None, :, None])[..., 0].amax(-1)
        target = torch.arange(batch)
        itc = sum(
            F.cross_entropy(sims / self.temp, target, label_smoothing=0.1)
            for sims in (to_text, to_image)
        )

        of_text, of_image = negatives
        rows = torch.cat([ids, ids, ids[of_image]])
        seen = torch.cat([mask, mask, mask[of_image]])
        seen = torch.cat([torch.ones(len(rows), queries.shape[1]), seen], 1)
        hidden, _ = bert(
            rows, seen, queries.repeat(3, 1, 1), torch.cat([image, image[of_text], image])
        )
        logits = self.itm_head(hidden[:, : queries.shape[1]]).mean(1)
        labels = torch.cat([torch.ones(batch), torch.zeros(2 * batch)]).long()
        itm = F.cross_entropy(logits, labels)

        started = torch.cat([torch.full((batch, 1), bos), ids[:, 1:]], 1)
        seen = torch.cat([torch.ones(batch, queries.shape[1]), mask], 1)
        hidden, _ = bert(started, seen, past=past)
        logits = self.Qformer["cls"]["predictions"](hidden)[:, :-1]
        labels = started.masked_fill(mask == 0, -100)[:, 1:]
        itg = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), label_smoothing=0.1)
        return {"itc": itc / 2, "itm": itm, "itg": itg}

    def scores(self, images: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Similarities [B, B] of each image with each text, and matching logits [B, 2] of pairs."""
        bert = self.Qformer["bert"]
        image = self.ln_vision(self.visual_encoder(images))
        queries = self.query_tokens.expand(len(ids), -1, -1)
        image_side = F.normalize(self.vision_proj(bert(queries=queries, image=image)[0]), dim=-1)
        text_side = F.normalize(self.text_proj(bert(ids, mask)[0][:, 0]), dim=-1)
        seen = torch.cat([torch.ones(queries.shape[:2]), mask], 1)
        hidden, _ = bert(ids, seen, queries, image)
        itm = self.itm_head(hidden[:, : queries.shape[1]]).mean(1)
        return torch.einsum("iqe,te->itq", image_side, text_side).amax(-1), itm


class Blip2VicunaInstruct(nn.Module):
    """State-dictionary names as in `instruct_blip_vicuna*.pth`; `llm` is a LlamaForCausalLM, as
    LAVIS's own is."""

    def __init__(self, s: Sizes, llm: nn.Module, width: int, ln_vision_eps: float = 1e-5):
        super().__init__()
        self.visual_encoder = Eva(s)
        self.ln_vision = nn.LayerNorm(s.vision, ln_vision_eps)
        self.query_tokens = nn.Parameter(torch.zeros(1, s.queries, s.width))
        self.Qformer = nn.ModuleDict({"bert": Bert(s)})
        self.llm_model = llm
        self.llm_proj = nn.Linear(s.width, width)

    def forward(
        self, images: Tensor, ids: Tensor, mask: Tensor, asked: Tensor | None, seen: Tensor | None
    ) -> Tensor:
        """Logits [B, Q + T, V] at the visual tokens and the text `ids` [B, T] behind them.

        `asked` [B, S], with its mask `seen`, is what the Q-Former reads; None in BLIP-2.
        """
        image = self.ln_vision(self.visual_encoder(images))
        queries = self.query_tokens.expand(len(ids), -1, -1)
        ones = torch.ones(queries.shape[:2])
        both = None if asked is None else torch.cat([ones, seen], 1)
        hidden, _ = self.Qformer["bert"](asked, both, queries, image)
        visual = self.llm_proj(hidden[:, : queries.shape[1]])
        inputs = torch.cat([visual, self.llm_model.get_input_embeddings()(ids)], 1)
        whole = torch.cat([ones.long(), mask], 1)
        return self.llm_model(inputs_embeds=inputs, attention_mask=whole).logits


def trained(state: dict[str, Tensor], text: bool = True) -> dict[str, Tensor]:
    """What LAVIS's trainer saves of a model: no ViT, no language model; without `text`, a Q-Former
    as in BLIP-2, which has no text half."""
    kept = {n: v for n, v in state.items() if not n.startswith(("visual_encoder.", "llm_model."))}
    if text:
        return kept
    ends = ("word_embeddings.weight", "position_embeddings.weight", "position_ids")
    return {
        name: value
        for name, value in kept.items()
        if not name.endswith(ends) and ".intermediate." not in name
        and not (".output." in name and "attention" not in name)
    }  # fmt: skip


def vit_file(vit: Eva) -> dict[str, Tensor]:
    """What `eva_vit_g.pth` holds of a ViT: one block more than BLIP-2 uses, a last norm, a head."""
    state = vit.state_dict()
    last = f"blocks.{len(vit.blocks) - 1}."
    more = {n.replace(last, f"blocks.{len(vit.blocks)}."): v for n, v in state.items() if last in n}
    width = state["cls_token"].shape[-1]
    more |= {"norm.weight": torch.ones(width), "head.weight": torch.ones(7, width)}
    return state | more


def randomise(model: nn.Module, seed: int = 0) -> None:
    """Noise in every parameter (a fresh model has zero queries and biases); norms stay near 1."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            noise = 0.15 * torch.randn(parameter.shape, generator=generator)
            if name == "temp":
                continue
            norm = name.endswith("weight") and parameter.ndim == 1
            parameter.copy_(noise + 1 if norm else noise)


class Memory:
    """A state dictionary as a source of `zv_jax.convert`."""

    where = "memory"

    def __init__(self, state: dict[str, Tensor]):
        self._values = {name: value.detach().numpy() for name, value in state.items()}
        self.specs = {
            name: jax.ShapeDtypeStruct(value.shape, value.dtype)
            for name, value in self._values.items()
        }

    def read(self, name: str) -> np.ndarray:
        return self._values[name]
