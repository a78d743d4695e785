"""One training step in PyTorch: the losses, clipping, AdamW and its schedule, as ours."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Collection, Mapping

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.cases import Batch
from benchmarks.torch_model import TorchZiyaVisual, caption_mask, joint_mask
from benchmarks.torch_weights import load
from zv_jax.config.schema import Config, OptimizerConfig

IGNORED = -100
TEMPERATURE_RANGE = (0.01, 0.5)
Terms = dict[str, Tensor]
Negatives = tuple[np.ndarray, np.ndarray]  # an image for each text, a text for each image


def rate(cfg: OptimizerConfig, step: int, steps: int) -> float:
    """Learning rate of update `step`, counted from 0."""
    if step < cfg.warmup_steps:
        return cfg.lr * (step + 1) / cfg.warmup_steps
    if cfg.schedule == "constant":
        return cfg.lr
    share = min(1.0, (step - cfg.warmup_steps) / max(1, steps - cfg.warmup_steps))
    return cfg.final_lr + (cfg.lr - cfg.final_lr) * 0.5 * (1 + math.cos(math.pi * share))


class TorchStep:
    """Model, optimiser and step.

    Args:
        autocast: computes in bfloat16 where torch thinks it safe.
        separate: the passes of stage 0 as LAVIS makes them: queries alone, texts, matching, and
            captions that read the keys and values which the queries left (BLIP-2, section 3.2;
            salesforce/LAVIS, models/blip2_models/blip2_qformer.py).
    """

    def __init__(
        self,
        config: Config,
        leaves: Mapping[str, np.ndarray],
        trainable: Collection[str],
        autocast: bool = False,
        separate: bool = False,
    ):
        torch.set_flush_denormal(True)  # as XLA does
        torch.manual_seed(config.seed)
        self.config, self.autocast, self.separate, self.count = config, autocast, separate, 0
        self.model = TorchZiyaVisual(config)
        load(self.model, leaves, trainable)
        self.parameters = [p for p in self.model.parameters() if p.requires_grad]
        cfg = config.optimizer
        groups = [
            {"params": [p for p in self.parameters if p.ndim > 1]},
            {"params": [p for p in self.parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=cfg.lr,
            betas=(cfg.b1, cfg.b2),
            eps=cfg.eps,
            weight_decay=cfg.weight_decay,
            fused=True,
        )

    def __call__(self, batch: Batch, negatives: Negatives | None = None) -> dict[str, float]:
        """One update; `negatives` replaces the draw for ITM. Returns the metrics before it."""
        config = self.config
        rows = {name: torch.as_tensor(value) for name, value in batch.items()}
        cast = torch.autocast("cpu", torch.bfloat16) if self.autocast else contextlib.nullcontext()
        with cast:
            if config.stage.name == "stage0":
                terms = self._pretraining(rows, negatives)
                loss = terms["itc"] + terms["itm"] + terms["itg"]
            else:
                terms = self._language(rows)
                loss = terms["lm"]
        loss.backward()
        limit = config.optimizer.clip_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, limit)
        for group in self.optimizer.param_groups:
            group["lr"] = rate(config.optimizer, self.count, config.train.steps)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.count += 1
        metrics = {"loss": loss, "grad_norm": norm, **terms}
        return {name: float(value.detach()) for name, value in metrics.items()}

    def _pretraining(self, rows: dict[str, Tensor], negatives: Negatives | None) -> Terms:
        """Three passes of the Q-Former: captioning with the queries, text alone, matching; or
        four, as `separate` says."""
        model, stage = self.model, self.config.stage
        ids, mask, image_ids = rows["text_ids"], rows["text_mask"], rows["image_ids"]
        count, batch = model.qformer.count, len(ids)
        features = model.encode_images(rows["images"])
        marked = torch.cat([rows["dec_id"].expand(batch, 1).to(ids.dtype), ids[:, 1:]], 1)
        seen = caption_mask(count, mask)
        if self.separate:
            queries, _, kept = model.qformer.keeping(features)
            text = model.qformer.keeping(None, marked, seen[:, :, count:], kept)[1]
        else:
            queries, text = model.qformer(features, marked, seen)
        logits = model.qformer.text_head(text, model.qformer.word)[:, :-1].float()
        targets = ids[:, 1:].masked_fill(~mask[:, 1:], IGNORED)
        terms = {"itg": cross_entropy(logits, targets, stage.label_smoothing)}

        text = model.qformer(None, ids, joint_mask(0, mask))[1][:, 0]
        image_side = F.normalize(model.heads.vision_proj(queries).float(), dim=-1)
        text_side = F.normalize(model.heads.text_proj(text).float(), dim=-1)
        sims = torch.einsum("bqe,ce->bcq", image_side, text_side).max(-1).values
        tau = model.heads.temperature.clamp(*TEMPERATURE_RANGE)
        same = image_ids[:, None] == image_ids[None]
        wanted = (1 - stage.label_smoothing) * same / same.sum(1, keepdim=True)
        wanted = wanted + stage.label_smoothing / batch
        terms["itc"] = 0.5 * (
            F.cross_entropy(sims.float() / tau, wanted)
            + F.cross_entropy(sims.T.float() / tau, wanted)
        )

        if negatives is None:
            image_of, text_of = draw_negatives(sims.detach() / tau.detach(), same)
        else:
            image_of, text_of = (torch.as_tensor(np.array(index)) for index in negatives)
        images = [features, features.index_select(0, image_of)]
        texts, masks = [ids, ids], [mask, mask]
        if stage.itm_pairs == "both":
            images.append(features)
            texts.append(ids[text_of])
            masks.append(mask[text_of])
        joint = joint_mask(count, torch.cat(masks))
        joined = model.qformer(torch.cat(images), torch.cat(texts), joint)[0]
        logits = model.heads.itm(joined).float().mean(1)
        labels = (torch.arange(len(logits)) < batch).long()
        weights = (~same).any(1).repeat(len(images)) | labels.bool()
        terms["itm"] = cross_entropy(logits, labels.masked_fill(~weights, IGNORED))
        with torch.no_grad():
            right = (logits.argmax(-1) == labels) & weights
            terms["itm_accuracy"] = right.sum() / weights.sum()
            terms["itc_accuracy"] = (image_ids[sims.argmax(1)] == image_ids).float().mean()
        return terms

    def _language(self, rows: dict[str, Tensor]) -> Terms:
        """Next-token loss; the output layer runs only where a label is."""
        hidden = self.model.hidden(
            rows["images"],
            rows["input_ids"],
            rows["qformer_input_ids"],
            rows["qformer_attention_mask"],
        )
        labels = rows["labels"][:, 1:]
        labelled = labels != IGNORED
        logits = self.model.llm.logits(hidden[:, :-1][labelled]).float()
        targets = labels[labelled].long()
        with torch.no_grad():
            accuracy = (logits.argmax(-1) == targets).float().mean()
        return {"lm": F.cross_entropy(logits, targets), "token_accuracy": accuracy}


def cross_entropy(logits: Tensor, targets: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Mean over the targets that are not `IGNORED`."""
    return F.cross_entropy(
        logits.flatten(0, -2),
        targets.flatten().long(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
    )


def draw_negatives(scores: Tensor, same: Tensor) -> tuple[Tensor, Tensor]:
    """An image for each text and a text for each image, from the softmax over other images."""
    scores = scores.float().masked_fill(same, -1e9)
    for_text = torch.multinomial(scores.T.softmax(1), 1)[:, 0]
    return for_text, torch.multinomial(scores.softmax(1), 1)[:, 0]
