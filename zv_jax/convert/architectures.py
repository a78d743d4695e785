"""The classes of transformers that map onto our model, and how a directory says which it is."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from zv_jax.config import Config
from zv_jax.convert import names
from zv_jax.convert.names import Family
from zv_jax.errors import ConversionError, hub_fix, unknown_name
from zv_jax.stages import images_per_row, stage_of

Json = Mapping[str, Any]
_TEMPERATURE_AND_HEAD = (r"params/heads/temperature", r"params/qformer/text_head/.*")


@dataclass(frozen=True)
class Architecture:
    """One class of transformers.

    Attributes:
        family: its table of names.
        stage, variant: of our training, whose model has the same parts.
        optional: patterns of our leaves that its checkpoints need not have.
        model_type: as in `config.json`.
    """

    name: str
    model_type: str
    family: Family
    stage: str
    variant: str
    optional: tuple[str, ...] = ()


INSTRUCT_BLIP = Architecture(
    "InstructBlipForConditionalGeneration", "instructblip", names.INSTRUCT_BLIP, "stage1", "chat"
)
BLIP2 = Architecture("Blip2ForConditionalGeneration", "blip-2", names.BLIP2, "stage1", "base")
# The published Ziya-Visual Base: BLIP-2 whose language model is a checkpoint of its own.
ZIYA_BASE = replace(BLIP2, name="ZiyaBlip2ForCausalLM", optional=(r"params/llm/.*",))
RETRIEVAL = Architecture(
    "Blip2ForImageTextRetrieval",
    "blip-2",
    names.BLIP2_RETRIEVAL,
    "stage0",
    "chat",
    _TEMPERATURE_AND_HEAD,
)
LLAMA = Architecture("LlamaForCausalLM", "llama", names.LLAMA, "language", "base")
_VISION = Architecture("Blip2VisionModel", "blip_2_vision_model", names.VISION, "stage1", "base")
_BERT = Architecture(
    "BertForMaskedLM", "bert", names.BERT, "stage0", "chat", (r"params/qformer/text_head/.*",)
)

ARCHITECTURES: dict[str, Architecture] = {
    a.name: a
    for a in (
        INSTRUCT_BLIP,
        BLIP2,
        ZIYA_BASE,
        RETRIEVAL,
        LLAMA,
        _VISION,
        replace(_VISION, name="InstructBlipVisionModel", model_type="instructblip_vision_model"),
        _BERT,
        replace(_BERT, name="BertForPreTraining"),
        replace(_BERT, name="BertModel", family=names.BERT_MODEL),
    )
}


def is_theirs(path: str | Path) -> bool:
    """Whether `path` is a directory with a `config.json` of transformers (ours has sections)."""
    try:
        raw = json.loads((Path(path) / "config.json").read_text("utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(raw, dict) and not raw.keys().isdisjoint(("model_type", "architectures"))


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object at `path`.

    Raises:
        ConversionError: there is no such file, or it is damaged.
    """
    try:
        raw = json.loads(path.read_text("utf-8"))
        if not isinstance(raw, dict):
            raise ValueError(f"it holds a {type(raw).__name__}, not an object")
        return raw
    except FileNotFoundError:
        raise ConversionError(
            f"there is no {path.name}",
            where=str(path.parent),
            expected="a directory in the layout of save_pretrained, with its config.json",
            fix=hub_fix(path.parent, "copy config.json from where the weights came from"),
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise ConversionError(
            f"{path.name} cannot be read: {error}",
            where=str(path),
            expected="a JSON object",
            fix=f"copy {path.name} again from where the weights came from",
        ) from None


def read_architecture(raw: Json, where: str) -> Architecture:
    """The class that a `config.json` names.

    Raises:
        ConversionError: it is none of `ARCHITECTURES`.
    """
    named = raw.get("architectures")
    if not named or not isinstance(named, list):
        named = [a.name for a in ARCHITECTURES.values() if a.model_type == raw.get("model_type")]
    name = str(named[0]) if named else str(raw.get("model_type"))
    if name not in ARCHITECTURES:
        raise unknown_name(
            "architecture",
            name,
            ARCHITECTURES,
            where,
            fix="take a checkpoint of one of these classes",
            error=ConversionError,
        )
    return ARCHITECTURES[name]


# LAVIS normalises image features with 1e-5 where transformers has 1e-6 for the whole ViT. Features
# change by less than 1e-4, and the published conversions of LAVIS's models are made so too.
EPS_SLACK = 1e-5


def write_architecture(config: Config) -> Architecture:
    """The class that a model of ours is exported as.

    Raises:
        ConversionError: no class of transformers can express the model.
    """
    model = config.model
    if not images_per_row(config):
        return LLAMA
    for wrong, field, expected in (
        (model.vision.family != "eva", "model.vision.family", "eva"),
        (model.vision.drop_cls, "model.vision.drop_cls", "False"),
        (model.qformer.pre_proj_dim, "model.qformer.pre_proj_dim", "0"),
        (
            abs(model.vision.ln_vision_eps - model.vision.norm_eps) > EPS_SLACK,
            "model.vision.ln_vision_eps",
            f"{model.vision.norm_eps}, since there one value serves all norms of the ViT",
        ),
    ):
        if wrong:
            raise ConversionError(
                "transformers has no class for this model",
                where=field,
                expected=expected,
                fix="keep the checkpoint in our own format",
            )
    if stage_of(config).compares:
        return RETRIEVAL
    return INSTRUCT_BLIP if config.stage.variant == "chat" else BLIP2
