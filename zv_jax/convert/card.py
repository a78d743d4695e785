"""The model card (README.md) of an exported model, in English and Chinese."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

import zv_jax
from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.convert.usage import usage
from zv_jax.errors import ConversionError


@dataclass(frozen=True)
class Options:
    """How to export.

    Attributes:
        merge_lora: True adds the adapters to the weights, False leaves them out (they are exported
            beside), None refuses a model that has any.
        dtype: of all tensors; None keeps each as it is stored.
        max_shard_size: largest file, such as "5GB".
        image_size: to resize the position table to, in pixels; None keeps it.
        license, base_model: fields of the model card.
        results: a results.json whose scores the card shows.
    """

    merge_lora: bool | None = None
    dtype: str | None = None
    max_shard_size: str = "5GB"
    image_size: int | None = None
    license: str = "other"
    base_model: str | None = None
    results: str | None = None


_TASKS = {
    "InstructBlipForConditionalGeneration": "image-text-to-text",
    "Blip2ForConditionalGeneration": "image-text-to-text",
    "Blip2ForImageTextRetrieval": "zero-shot-image-classification",
    "LlamaForCausalLM": "text-generation",
}
_TEXT = {
    "en": {
        "about": "A bilingual (English, Chinese) vision-language model in the manner of "
        "Ziya-Visual, trained or converted with zv_jax {version}.",
        "model": "Model",
        "recipe": "How it was trained",
        "scores": "Scores",
        "no_scores": "None were given when this card was written.",
        "converted": "Converted from {source}; zv_jax has not trained it.",
        "sources": "Started from: {sources}.",
        "licence": "Licence",
        "licence_text": "`{license}`. The weights also stand under the terms of what they were "
        "made from: the language model, the image encoder and the data. Check these before use.",
        "use": "Use",
        "certificate": "Certificate",
        "columns": ("task", "language", "metric", "score", "95 % interval", "n"),
        "fields": {
            "class": "class",
            "parameters": "parameters",
            "dtype": "dtype",
            "image": "image size, patch",
            "vision": "image encoder (layers x width)",
            "qformer": "Q-Former (layers x width, queries)",
            "llm": "language model (layers x width)",
            "vocabulary": "vocabulary of the language model",
            "stage": "stage",
            "variant": "variant",
            "steps": "steps",
            "batch_size": "rows per step",
            "optimizer": "optimiser, rate",
        },
    },
    "zh": {
        "about": "仿 Ziya-Visual 的中英双语视觉语言模型，由 zv_jax {version} 训练或转换。",
        "model": "模型",
        "recipe": "训练方式",
        "scores": "得分",
        "no_scores": "撰写本卡片时未给出得分。",
        "converted": "由 {source} 转换而来；zv_jax 未对其训练。",
        "sources": "起始权重：{sources}。",
        "licence": "许可",
        "licence_text": "`{license}`。权重同时受其来源（语言模型、图像编码器与数据）的条款约束，"
        "使用前请逐一核对。",
        "use": "用法",
        "certificate": "核对证书",
        "columns": ("任务", "语言", "指标", "得分", "95 % 区间", "n"),
        "fields": {
            "class": "类",
            "parameters": "参数量",
            "dtype": "数据类型",
            "image": "图像尺寸、块",
            "vision": "图像编码器（层数 x 宽度）",
            "qformer": "Q-Former（层数 x 宽度，查询数）",
            "llm": "语言模型（层数 x 宽度）",
            "vocabulary": "语言模型词表",
            "stage": "阶段",
            "variant": "变体",
            "steps": "步数",
            "batch_size": "每步行数",
            "optimizer": "优化器、学习率",
        },
    },
}


def model_card(model: OwnCheckpoint, name: str, dtype: str, options: Options) -> str:
    """Markdown with the fields of a model card first.

    Args:
        name: the class the model is exported as; dtype: of most of its tensors.

    Raises:
        ConversionError: `options.results` is no results.json.
    """
    fields: dict[str, Any] = {
        "language": ["en", "zh"],
        "license": options.license,
        "library_name": "transformers",
        "pipeline_tag": _TASKS[name],
        "tags": ["zv_jax", "ziya-visual"],
    }
    if options.base_model:
        fields["base_model"] = options.base_model
    scores = read_scores(options.results) if options.results else []
    head = yaml.safe_dump(fields, allow_unicode=True, sort_keys=False)
    parts = [f"---\n{head}---\n\n# {model.config.model.preset}\n"]
    for lang, title in (("en", "English"), ("zh", "中文")):
        parts.append(
            f"## {title}\n\n" + _section(_TEXT[lang], lang, model, name, dtype, scores, options)
        )
    return "\n".join(parts)


def with_certificate(card: str, lines: Mapping[str, str]) -> str:
    """A model card with a line on what was verified, in place of an earlier one.

    Args:
        card: Markdown; lines: by language.
    """
    for lang, line in lines.items():
        words = _TEXT[lang]
        new = f"**{words['certificate']}** {line}"
        old = re.compile(rf"^\*\*{words['certificate']}\*\* .*$", re.MULTILINE)
        heading = f"\n### {words['recipe']}\n"
        if old.search(card):
            card = old.sub(lambda _, new=new: new, card)
        elif heading in card:
            card = card.replace(heading, f"\n{new}\n{heading}", 1)
        else:
            card = f"{card.rstrip()}\n\n{new}\n"
    return card


def _section(
    words: dict[str, Any],
    lang: str,
    model: OwnCheckpoint,
    name: str,
    dtype: str,
    scores: list[dict[str, Any]],
    options: Options,
) -> str:
    lines = [words["about"].format(version=zv_jax.__version__), "", f"### {words['model']}", ""]
    lines += _table(_model_rows(model, name, dtype), words["fields"])
    lines += ["", f"### {words['recipe']}", "", *_recipe(model, words), ""]
    lines += [f"### {words['scores']}", ""]
    lines += _scores(scores, words) if scores else [words["no_scores"]]
    licence = words["licence_text"].format(license=options.license)
    lines += ["", f"### {words['licence']}", "", licence, "", f"### {words['use']}", ""]
    return "\n".join([*lines, usage(model, name, lang), ""])


def _table(rows: dict[str, object], names: dict[str, str]) -> list[str]:
    return ["| | |", "|---|---|", *(f"| {names[key]} | {value} |" for key, value in rows.items())]


def _model_rows(model: OwnCheckpoint, name: str, dtype: str) -> dict[str, object]:
    config = model.config.model
    vision, former, llm = config.vision, config.qformer, config.llm
    total = sum(_size(spec.shape) for spec in model.specs.values())
    rows: dict[str, object] = {"class": f"`{name}`", "parameters": f"{total:,}", "dtype": dtype}
    towers = {path.split("/")[1] for path in model.specs}
    if "vision" in towers:
        rows["image"] = f"{vision.image_size}, {vision.patch_size}"
        rows["vision"] = f"{vision.layers} x {vision.width}"
    if "qformer" in towers:
        rows["qformer"] = f"{former.layers} x {former.width}, {former.num_queries}"
    if "llm" in towers:
        rows |= {"llm": f"{llm.layers} x {llm.width}", "vocabulary": llm.vocab_size}
    return rows


def _size(shape: tuple[int, ...]) -> int:
    size = 1
    for side in shape:
        size *= side
    return size


def _recipe(model: OwnCheckpoint, words: dict[str, Any]) -> list[str]:
    config = model.config
    if model.converted:
        return [words["converted"].format(source=f"`{model.provenance['converted_from']}`")]
    optimizer = config.optimizer
    lines = _table(
        {
            "stage": config.stage.name,
            "variant": config.stage.variant,
            "steps": model.provenance["step"],
            "batch_size": config.train.batch_size,
            "optimizer": f"{optimizer.name}, {optimizer.lr:g}",
        },
        words["fields"],
    )
    names = [Path(s["path"]).name for s in model.provenance.get("sources", ())]
    if names:
        joined = ", ".join(f"`{name}`" for name in names)
        lines += ["", words["sources"].format(sources=joined)]
    return lines


def read_scores(path: str) -> list[dict[str, Any]]:
    """The scores of a results.json of `zv eval`.

    Raises:
        ConversionError: it is not there, or has none.
    """
    try:
        return list(json.loads(Path(path).read_text("utf-8"))["scores"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConversionError(
            f"the scores cannot be read: {error!r}",
            where=path,
            expected='the results.json of zv eval, with "scores"',
            fix="leave --results out, or give the file of an evaluation",
        ) from None


def _scores(scores: list[dict[str, Any]], words: dict[str, Any]) -> list[str]:
    lines = ["| " + " | ".join(words["columns"]) + " |", "|---|---|---|---|---|---|"]
    for s in scores:
        low, high = s.get("interval", ("", ""))
        cells = (s["task"], s["lang"], s["metric"], s["value"], f"{low} - {high}", s["n"])
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return lines
