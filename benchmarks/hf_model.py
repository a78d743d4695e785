"""The same stages by transformers and PEFT, as a user of those would train them.

`InstructBlipForConditionalGeneration` or `Blip2ForConditionalGeneration` in the sizes of ours, with
random weights; adapters by PEFT; SDPA attention, which is their default; AdamW fused. What trains
is what trains here, and is counted to be sure.
"""

from __future__ import annotations

import re

import numpy as np
import peft
import torch
import transformers as hf
from torch import Tensor, nn

from benchmarks.cases import Batch
from benchmarks.torch_step import rate
from zv_jax.config.schema import Config
from zv_jax.convert.architectures import BLIP2, INSTRUCT_BLIP
from zv_jax.convert.config_json import write_config
from zv_jax.models.vit import MEAN, STD
from zv_jax.stages import stage_of

# Our modules that may have adapters (`LoraConfig.targets`), and theirs.
ADAPTED = {
    "vision/blocks/attn/qkv": r"vision_model\.encoder\.layers\.\d+\.self_attn\.qkv",
    "llm/layers/attn/q": r"language_model\.model\.layers\.\d+\.self_attn\.q_proj",
    "llm/layers/attn/v": r"language_model\.model\.layers\.\d+\.self_attn\.v_proj",
}
# Theirs for our patterns of what trains, without the adapters.
QFORMER = r"query_tokens|qformer\..*|vision_model\.post_layernorm\..*"
PROJECTOR = r"language_projection\..*"


def build(config: Config, device: str = "cpu", frozen: torch.dtype = torch.float32) -> nn.Module:
    """The model of stage 1 or 2, made on `device`; what is frozen is kept in the dtype `frozen`."""
    architecture = INSTRUCT_BLIP if config.stage.variant == "chat" else BLIP2
    kind = getattr(hf, architecture.name)
    described = kind.config_class.from_dict(write_config(config, architecture, "float32", {}))
    before = torch.get_default_dtype()
    torch.set_default_dtype(frozen)
    try:
        with torch.device(device):
            model = kind(described)
    finally:
        torch.set_default_dtype(before)
    nn.init.normal_(model.query_tokens, std=0.02)  # zeros would give gradients without bounds
    patterns = stage_of(config).trainable
    ours = PROJECTOR + (f"|{QFORMER}" if any("qformer" in p for p in patterns) else "")
    model.requires_grad_(False)
    if stage_of(config).adapters:
        lora = config.model.lora
        places = [name for path, name in ADAPTED.items() if re.fullmatch(lora.targets, path)]
        model = peft.get_peft_model(
            model,
            peft.LoraConfig(
                r=lora.rank,
                lora_alpha=lora.alpha,
                lora_dropout=lora.dropout,
                target_modules=".*(" + "|".join(places) + ")",
            ),
        )
    for name, parameter in model.named_parameters():
        if re.fullmatch(rf"(base_model\.model\.)?(model\.)?({ours})", name):
            parameter.requires_grad_(True)
        if parameter.requires_grad:
            parameter.data = parameter.data.float()
    return model.train()


def inputs(config: Config, batch: Batch, device: str = "cpu") -> dict[str, Tensor]:
    """Our batch in their layout: images normalised, each with the question of its row."""
    shown = batch["images"].shape[1]
    images = torch.as_tensor(batch["images"], device=device).flatten(0, 1)
    mean, deviation = (torch.tensor(value, device=device) for value in (MEAN, STD))
    images = ((images / 255 - mean) / deviation).permute(0, 3, 1, 2).contiguous()
    given = {"pixel_values": images}
    names = ["input_ids", "attention_mask", "labels"]
    if config.stage.variant == "chat":
        for name in ("qformer_input_ids", "qformer_attention_mask"):
            given[name] = torch.as_tensor(np.repeat(batch[name], shown, 0), device=device).long()
    for name in names:
        given[name] = torch.as_tensor(batch[name], device=device).long()
    return given


class HfStep:
    """Model, optimiser and step, called like `TorchStep`; `attention` is the kind it has chosen.

    Args:
        compiled: by `torch.compile`.
        checkpointing: recomputes the layers of the language model in the backward pass.
    """

    def __init__(
        self,
        config: Config,
        device: str = "cpu",
        frozen: torch.dtype = torch.float32,
        compiled: bool = False,
        checkpointing: bool = False,
    ):
        torch.manual_seed(config.seed)
        self.config, self.device, self.frozen, self.count = config, device, frozen, 0
        model = build(config, device, frozen)
        self.attention = model.config._attn_implementation
        if checkpointing:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        self.model = torch.compile(model) if compiled else model
        cfg = config.optimizer
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1]},
            {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups, lr=cfg.lr, betas=(cfg.b1, cfg.b2), eps=cfg.eps, weight_decay=cfg.weight_decay,
            fused=True,
        )  # fmt: skip

    @property
    def trained(self) -> int:
        """Number of values that train."""
        return sum(parameter.numel() for parameter in self.parameters)

    def __call__(self, batch: Batch) -> dict[str, float]:
        """One update; the loss before it."""
        config = self.config
        given = inputs(config, batch, self.device)
        half = self.frozen is torch.bfloat16
        with torch.autocast(self.device, torch.bfloat16, enabled=half):
            loss = self.model(**given).loss
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, config.optimizer.clip_norm or 1e30)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(config.optimizer, self.count, config.train.steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.count += 1
        return {"loss": float(loss.detach()), "grad_norm": float(norm)}
