"""LAVIS's BLIP-2 and InstructBLIP checkpoints, in and out.

Its trainer saves only what was trained, so most files lack the frozen ViT or language model; both
can be given beside it, and what is missing is reported, never made up. The files have no
configuration: sizes are read off the tensors, and widths of heads are those of the published models
unless a preset says otherwise.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from zv_jax import casts
from zv_jax.config import Config
from zv_jax.convert import asking, config_json, lavis_names, lavis_vision, reader, stream
from zv_jax.convert.architectures import Architecture, read_json
from zv_jax.convert.lavis_names import LANGUAGE, PROJECTOR, VISION
from zv_jax.convert.own_checkpoint import OwnCheckpoint
from zv_jax.convert.reader import ForeignCheckpoint, Options
from zv_jax.convert.sources import Renamed, Source, open_file, open_source, together
from zv_jax.errors import ConversionError, SetupError
from zv_jax.models import presets
from zv_jax.models.presets import LoraConfig, ModelConfig, QFormerConfig, VisionConfig
from zv_jax.stages import stage_of

SUFFIXES = (".pth", ".pt")
PUBLISHED = "ziya_visual_chat_13b"  # preset with the sizes of the published models
LN_VISION_EPS = 1e-5  # torch's default, where Hugging Face has 1e-6
_WORDS = "Qformer.bert.embeddings.word_embeddings.weight"
_OTHERS = {"opt_proj.weight": "OPT", "t5_proj.weight": "T5"}


def open_lavis(
    path: str | Path, options: Options | None = None, preset: str | None = None
) -> ForeignCheckpoint:
    """Reads everything of a checkpoint file but its values.

    Args:
        options: `llm` is the directory of a LLaMA (Vicuna) to put in its place, `vision` the file
            of a ViT.
        preset: architecture that gives the widths of heads, and the sizes of missing towers.

    Raises:
        ConversionError: it is none of LAVIS's BLIP-2 with a LLaMA, or a tower is there in part.
        SetupError: torch is not installed.
    """
    options = options or Options()
    source: Source = open_file(Path(path))
    template = presets.preset(preset or PUBLISHED)
    if options.vision:
        source = lavis_vision.join(source, options.vision)
    config = read_config(source, template)
    if options.prompt_format:
        config, notes = asking.by_name(config, options.prompt_format)
    else:
        config, notes = asking.as_lavis(config)
    if options.base or (options.llm and not stage_of(config).speaks):
        flag = f"--base={options.base}" if options.base else f"--llm={options.llm}"
        raise ConversionError(
            "this file is no difference to another" if options.base else "it has no projection",
            where=flag,
            expected=f"a language model (--llm) for a checkpoint with {PROJECTOR}.weight",
            fix=f"leave {flag.split('=')[0]} out",
        )
    if options.llm:
        config, source = _with_language_model(config, source, options)
    if options.vision:
        like = presets.CLIP_L if config.model.vision.family == "clip" else template.vision
        config = lavis_vision.as_deep(config, like.layers)
    config, resize = reader.resized(config, options)
    architecture = _architecture(config)
    family = architecture.family
    if options.vision:
        family = lavis_vision.with_rest(family, config.model.vision.layers)
    absent = [t for t, p in (("vision", VISION), ("llm", LANGUAGE)) if not _has(source, p)]
    found, coverage = stream.plan(
        family,
        source,
        reader.wanted(config, architecture),
        optional=[rf"params/{tower}/.*" for tower in absent],
        allow=options.allow,
        dtype=options.dtype,
        resize=resize,
    )
    both = reader.tokenizers_of(Path(path), architecture, options)
    reader.check_vocabularies(config, both)
    return ForeignCheckpoint(
        config, found, replace(coverage, notes=(*coverage.notes, *notes)), both
    )


def _has(source: Source, prefix: str) -> bool:
    return any(name.startswith(prefix) for name in source.specs)


def _architecture(config: Config) -> Architecture:
    """As of a class of transformers, with LAVIS's names."""
    stage, row = config.stage, stage_of(config)
    family = lavis_names.family(config.model.vision.family, row.compares, bool(row.qformer_text))
    return Architecture("LAVIS", "lavis", family, stage.name, stage.variant)


def _with_language_model(config: Config, source: Source, options: Options) -> tuple[Config, Source]:
    place = Path(options.llm) / "config.json"
    model = config_json.with_language_model(config.model, read_json(place), str(place))
    weights = Renamed(open_source(options.llm), lambda name: LANGUAGE + name)
    config = config_json.checked(replace(config, model=model), str(place))
    return config, together(source, weights)


# --- configuration --------------------------------------------------------------------------------


def read_config(source: Source, template: ModelConfig) -> Config:
    """A run of ours with the model that the tensors belong to.

    Args:
        template: gives what tensors do not tell.

    Raises:
        ConversionError: they are not those of BLIP-2 with a LLaMA.
    """
    specs, where = source.specs, source.where
    for name, model in _OTHERS.items():
        if name in specs:
            raise ConversionError(
                f"its language model is {model}",
                where=f"{where} ({name})",
                expected=f"a checkpoint with a LLaMA ({PROJECTOR}.weight), or one of stage 1",
                fix="start from blip2_pretrained.pth and train the projection here",
            )
    if "query_tokens" not in specs or not {"temp", f"{PROJECTOR}.weight"} & specs.keys():
        raise ConversionError(
            "this is no BLIP-2 checkpoint of LAVIS",
            where=where,
            expected=f"tensors query_tokens and temp (stage 1) or {PROJECTOR}.weight",
            fix="give the .pth file itself, with all it holds",
        )
    stage = "stage0" if "temp" in specs else "stage1"
    chat = _WORDS in specs
    try:
        vision, former = _vision(specs, template.vision), _qformer(specs, template.qformer)
        language = _language(specs, template)
    except (KeyError, ValueError, IndexError, ZeroDivisionError) as error:
        raise ConversionError(
            f"the sizes of the model cannot be read off its tensors: {error}",
            where=where,
            expected="the tensors of BLIP-2, with the axes that they have there",
            fix="give the .pth file itself, with all it holds",
        ) from None
    model = replace(
        template,
        vision=vision,
        qformer=former,
        llm=language,
        qformer_sees_instruction=chat,
        lora=LoraConfig(),
        dtype="float32",
        remat="none",
    )
    return config_json.run_of(model, stage, "chat" if chat else "base", where)


def _vision(specs: Mapping, template: VisionConfig) -> VisionConfig:
    if f"{VISION}conv1.weight" in specs:
        first, table, block = "conv1", "positional_embedding", "transformer.resblocks"
        up, like = "mlp.c_fc", presets.CLIP_L
    elif f"{VISION}pos_embed" in specs:
        first, table, block = "patch_embed.proj", "pos_embed", "blocks"
        up, like = "mlp.fc1", template
    else:
        return replace(template, ln_vision_eps=LN_VISION_EPS)
    width, _, patch, _ = specs[f"{VISION}{first}.weight"].shape
    tokens = specs[f"{VISION}{table}"].shape[-2]
    pattern = re.escape(f"{VISION}{block}.") + r"(\d+)\."
    return replace(
        like,
        image_size=math.isqrt(tokens - 1) * patch,
        patch_size=patch,
        width=width,
        layers=lavis_names.layers(specs, pattern),
        heads=max(1, width * like.heads // like.width),
        mlp_width=specs[f"{VISION}{block}.0.{up}.weight"].shape[0],
        ln_vision_eps=LN_VISION_EPS,
    )


def _qformer(specs: Mapping, template: QFormerConfig) -> QFormerConfig:
    _, queries, width = specs["query_tokens"].shape
    inner = "Qformer.bert.encoder.layer.0.intermediate_query.dense.weight"
    sizes = {}
    if _WORDS in specs:
        sizes["vocab_size"] = specs[_WORDS].shape[0]
        positions = "Qformer.bert.embeddings.position_embeddings.weight"
        sizes["max_positions"] = specs[positions].shape[0]
    if "vision_proj.weight" in specs:
        sizes["embed_dim"] = specs["vision_proj.weight"].shape[0]
    return replace(
        template,
        num_queries=queries,
        width=width,
        layers=lavis_names.layers(specs, r"Qformer\.bert\.encoder\.layer\.(\d+)\."),
        heads=max(1, width * template.heads // template.width),
        mlp_width=specs[inner].shape[0] if inner in specs else template.mlp_width,
        **sizes,
    )


def _language(specs: Mapping, template: ModelConfig) -> presets.LlamaConfig:
    """That of the template, or the published one as wide as the projection."""
    width = template.llm.width
    if f"{PROJECTOR}.weight" in specs:
        width = specs[f"{PROJECTOR}.weight"].shape[0]
    if width == template.llm.width:
        return template.llm
    known = {llm.width: llm for llm in (presets.LLAMA_7B, presets.LLAMA_13B)}
    return known.get(width, replace(template.llm, width=width))


# --- ours -> theirs -------------------------------------------------------------------------------


def to_lavis(model: OwnCheckpoint, out: str | Path) -> list[str]:
    """Writes `model` as a file for LAVIS's `load_checkpoint`; the language model is left out, as
    its trainer does.

    Returns:
        the towers that were written.

    Raises:
        ConversionError: `out` exists or is no .pth file, or the model has parts that LAVIS does
            not.
        SetupError: torch is not installed.
    """
    try:
        import torch
    except ImportError:
        raise SetupError(
            "writing a PyTorch file needs the package `torch`",
            where=str(out),
            expected="torch installed",
            fix="pip install torch",
        ) from None
    out = Path(out)
    _check_export(model, out)
    family = _architecture(model.config).family
    state: dict[str, np.ndarray] = {}
    towers = []
    for row in family.entries:
        paths = [f"params/{path}" for path in row.ours]
        if row.ours[0].startswith("llm/") or not all(path in model.specs for path in paths):
            continue
        towers.append(row.ours[0].split("/")[0])
        values = model.read({path: model.specs[path] for path in paths})
        count = model.specs[paths[0]].shape[0] if row.stacked else 1
        for i in range(count):
            parts = [np.asarray(values[path])[i if row.stacked else ...] for path in paths]
            tensors = row.transform.save(*parts)
            for name, tensor in zip(row.names(i), tensors, strict=True):
                state[name] = casts.finite(tensor, name, model.where)
    state |= lavis_names.copies(state)
    tensors = {name: _tensor(value) for name, value in state.items()}
    partial = out.with_name(out.name + stream.PARTIAL)
    try:
        torch.save({"model": tensors}, partial)
        partial.replace(out)
    finally:
        partial.unlink(missing_ok=True)
    return list(dict.fromkeys(towers))


def _check_export(model: OwnCheckpoint, out: Path) -> None:
    if out.suffix not in SUFFIXES or out.exists():
        raise ConversionError(
            "the destination exists already" if out.exists() else "a LAVIS checkpoint is one file",
            where=str(out),
            expected="a new file whose name ends in .pth",
            fix="choose another name, or remove it first",
        )
    inside = {
        f"params/{path}" for row in _architecture(model.config).family.entries for path in row.ours
    }
    extra = [path for path in model.specs if path not in inside]
    if extra or "params/qformer/query_tokens" not in model.specs:
        name = f"leaf {extra[0]!r} has no place in LAVIS" if extra else "there is no Q-Former"
        raise ConversionError(
            name,
            where=model.where,
            expected="a model of stage 0, 1 or 2 without adapters",
            fix="merge adapters first: zv convert to-hf CKPT OUT --merge-lora",
        )


def _tensor(value: np.ndarray) -> Any:
    import torch

    value = np.array(value, order="C")
    if value.dtype == ml_dtypes.bfloat16:  # which torch does not take from numpy
        return torch.from_numpy(value.view(np.int16)).view(torch.bfloat16)
    return torch.from_numpy(value)
