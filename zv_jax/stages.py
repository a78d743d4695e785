"""The stages of the paper (section 3.3) as one table: what trains, what is fed, which loss.

| stage    | variant | trains                                               | loss            |
|----------|---------|------------------------------------------------------|-----------------|
| language | both    | the LLM (only where no pre-trained one is at hand)   | LM on text      |
| vision   | both    | the ViT and ln_vision (likewise)                     | symbols + words |
| stage0   | both    | queries, Q-Former, heads, ln_vision (ViT on request) | ITC + ITM + ITG |
| stage1   | Base    | projector                                            | LM on answers   |
| stage1   | Chat    | Q-Former, ln_vision, projector                       | LM on answers   |
| stage2   | Base    | Q-Former, ln_vision, projector                       | LM on answers   |
| stage2   | Chat    | the same, and LoRA in ViT and LLM                    | LM on answers   |

Fed are image-text pairs in stage 0, instructions in stage 1, dialogues in stage 2; in Chat the
instruction enters the Q-Former too.
ln_vision trains wherever the Q-Former does, as in LAVIS, where it lies outside the frozen ViT.

Dropout follows this table too: what does not train draws nothing, as LAVIS keeps frozen modules in
evaluation mode. The ViT and LLM of stage 2 Chat are frozen but for their adapters, so the adapters
have their own dropout (LoRA's, as in PEFT) and the layers below them none: no `vision.drop_path`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import jax
import jax.numpy as jnp
from clu.parameter_overview import count_parameters, get_parameter_overview

from zv_jax.config import Config
from zv_jax.errors import ConfigError
from zv_jax.models.presets import LoraConfig, ModelConfig
from zv_jax.models.ziya_visual import ZiyaVisual, positions_of
from zv_jax.training.losses import (
    Batch,
    Terms,
    language_terms,
    patch_terms,
    pretraining_terms,
)

Array = jax.Array

QFORMER = r"params/(ln_vision|qformer)/.*"


@dataclass(frozen=True)
class Stage:
    """One row of the table. `trainable` are full-match patterns of parameter paths."""

    batch: str  # pairs | dialogue | text | patches
    losses: tuple[str, ...]  # the loss is the sum of the means of these terms
    trainable: tuple[str, ...]
    adapters: bool = False


STAGES: dict[tuple[str, str], Stage] = {}
for _variant in ("base", "chat"):
    STAGES["language", _variant] = Stage("text", ("lm",), (r"params/llm/.*",))
    STAGES["vision", _variant] = Stage(
        "patches", ("symbols", "words"), (r"params/(vision|ln_vision|patch_head)/.*",)
    )
    STAGES["stage0", _variant] = Stage(
        "pairs", ("itc", "itm", "itg"), (QFORMER, r"params/heads/.*")
    )
STAGES["stage1", "base"] = Stage("dialogue", ("lm",), (r"params/projector/.*",))
STAGES["stage1", "chat"] = Stage("dialogue", ("lm",), (QFORMER, r"params/projector/.*"))
STAGES["stage2", "base"] = STAGES["stage1", "chat"]
STAGES["stage2", "chat"] = Stage(
    "dialogue", ("lm",), (QFORMER, r"params/projector/.*", r"lora/(vision|llm)/.*"), adapters=True
)


def stage_of(config: Config) -> Stage:
    """The row of the table for `config.stage`.

    Raises:
        ConfigError: the ViT shall train in a stage other than 0.
    """
    stage = STAGES[config.stage.name, config.stage.variant]
    if config.stage.train_vision:
        if config.stage.name != "stage0":
            raise ConfigError(
                "the ViT trains as a whole only in stage 0",
                where="stage.train_vision",
                expected="False in " + config.stage.name,
                fix="use stage2 chat for LoRA on the ViT",
            )
        stage = dataclasses.replace(stage, trainable=(*stage.trainable, r"params/vision/.*"))
    return stage


def stage_model(config: Config) -> ModelConfig:
    """The architecture this stage builds: Base or Chat, with adapters only where they train."""
    stage = stage_of(config)
    model = dataclasses.replace(
        config.model, qformer_sees_instruction=config.stage.variant == "chat"
    )
    if not stage.adapters:
        return dataclasses.replace(model, lora=LoraConfig())
    if not model.lora.targets:
        raise ConfigError(
            "this stage trains adapters and the model has none",
            where="model.lora.targets",
            expected="a pattern of layer paths",
            fix="use a preset whose name ends in _chat or set the field",
        )
    return model


def split(paths: Iterable[str], stage: Stage) -> tuple[list[str], list[str]]:
    """Parameter paths as (trainable, frozen).

    Raises:
        ConfigError: a pattern matches no parameter.
    """
    paths = list(paths)
    for pattern in stage.trainable:
        if not any(re.fullmatch(pattern, path) for path in paths):
            raise ConfigError(
                f"the trainable pattern {pattern!r} matches no parameter",
                where="stage",
                expected="at least one of the model's parameters",
                fix="check model.lora.targets and the model preset",
            )
    trainable = [p for p in paths if any(re.fullmatch(t, p) for t in stage.trainable)]
    chosen = set(trainable)
    return trainable, [p for p in paths if p not in chosen]


def frozen_parts(trainable: Iterable[str], frozen: Iterable[str]) -> frozenset[str]:
    """What of a model does not train at all, as `ZiyaVisual.frozen` names it: "params/qformer"."""
    parts = [{"/".join(path.split("/")[:2]) for path in paths} for paths in (trainable, frozen)]
    return frozenset(parts[1] - parts[0])


def stage_table(flat: dict[str, jax.Array], trainable: set[str]) -> list[dict]:
    """Parameters per tower: how many train, are frozen, belong to trained adapters."""
    towers: dict[str, dict[str, dict]] = {}
    for path, leaf in flat.items():
        collection, tower = path.split("/")[:2]
        kinds = towers.setdefault(tower, {"trainable": {}, "frozen": {}, "adapter": {}})
        trained = "adapter" if collection == "lora" else "trainable"
        kinds[trained if path in trainable else "frozen"][path] = leaf
    return [
        {"tower": tower, **{kind: int(count_parameters(part)) for kind, part in kinds.items()}}
        for tower, kinds in sorted(towers.items())
    ]


def overview(flat: dict[str, jax.Array], trainable: set[str]) -> str:
    """Name, shape, dtype, size and sharding of every leaf: those that train, then the frozen."""
    parts = {"train": {}, "are frozen": {}}
    for path, leaf in flat.items():
        parts["train" if path in trainable else "are frozen"][path] = leaf
    return "\n\n".join(
        f"These parameters {what}:\n{get_parameter_overview(part, include_stats='sharding')}"
        for what, part in parts.items()
    )


def terms_of(stage: Stage) -> Callable[[ZiyaVisual, Batch, Array, Config], Terms]:
    """The loss function of a stage."""
    return {"pairs": pretraining_terms, "patches": patch_terms}.get(stage.batch, language_terms)


def initialise_all(model: ZiyaVisual, batch: Batch, stage: Stage) -> None:
    """Touch exactly the parts the stage has, so that `init` makes their parameters."""
    if stage.batch == "pairs":
        ids, mask = batch["text_ids"], batch["text_mask"]
        features = model.encode_images(batch["images"])
        queries, _ = model.caption(features, ids, mask)
        model.project_queries(queries)
        model.text_embed(ids, mask)
        model.match(features, ids, mask)
    elif stage.batch == "patches":
        model.describe_patches(batch["images"])
        model.symbol_tokens(jnp.zeros((1, 1, 1), jnp.int32))
    elif stage.batch == "dialogue":
        model(
            batch["images"],
            batch["input_ids"],
            batch["attention_mask"],
            batch["qformer_input_ids"],
            batch["qformer_attention_mask"],
        )
    else:
        mask = batch["attention_mask"]
        length = mask.shape[1]
        hidden, _ = model.llm(
            model.llm.embed(batch["input_ids"]),
            positions_of(mask),
            jnp.ones((mask.shape[0], length, length), bool),
        )
        model.llm.logits(hidden)
