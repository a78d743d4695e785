"""From Hugging Face: a directory of `save_pretrained` becomes a checkpoint of ours."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from zv_jax.config import Config
from zv_jax.convert import architectures, asking, config_json, delta, reader, stream
from zv_jax.convert.architectures import Architecture
from zv_jax.convert.coverage import Coverage
from zv_jax.convert.names import Family
from zv_jax.convert.reader import ForeignCheckpoint, Options
from zv_jax.convert.sources import Renamed, Source, open_source, together
from zv_jax.convert.stream import Leaf
from zv_jax.errors import ConfigError, ConversionError

SIDE_FILE = "zv_stage0.safetensors"  # the temperature and ITG head, which no class there has


def from_hf(src: str | Path, dst: str | Path, options: Options | None = None) -> Coverage:
    """Converts the directory `src` into a new workdir `dst`, which holds one checkpoint.

    Raises:
        ConversionError, DataError, CheckpointError, SetupError: the input is wrong or the
            disk full; `dst` is then as it was before.
    """
    return reader.convert(lambda: open_hf(src, options), src, dst)


def open_hf(src: str | Path, options: Options | None = None) -> ForeignCheckpoint:
    """Reads everything of a directory but its values.

    Raises:
        ConversionError: it has no `config.json`, is of no class that is supported, or names, shapes
            or files do not fit.
    """
    src, options = Path(src), options or Options()
    where = str(src / "config.json")
    raw = architectures.read_json(src / "config.json")
    named = architecture = architectures.read_architecture(raw, where)
    source = open_source(src)
    split = not any(name.startswith("language_model.") for name in source.specs)
    if architecture is architectures.BLIP2 and split and options.llm:
        architecture = architectures.ZIYA_BASE
    config = config_json.read_config(raw, architecture, where)
    if options.delta_kind and not options.base:
        raise ConfigError(
            "--delta_kind without --base",
            where=f"--delta_kind={options.delta_kind}",
            expected="the LLaMA that the weights are a difference to",
            fix="add --base=DIRECTORY, or leave --delta_kind out",
        )
    notes: list[str] = []
    if architecture is architectures.ZIYA_BASE:
        config, source = _with_language_model(config, raw, source, where, options, notes)
    elif options.llm:
        raise _no_place("llm", options.llm, "its language model is inside")
    elif options.base:
        source = _complete(source, options, notes)
    if options.prompt_format:
        config, lines = asking.by_name(config, options.prompt_format)
    else:
        config, lines = asking.of_directory(config, raw, named, src)
    notes += lines
    source = _side(src, _modern(source))
    _refuse_delta(source)
    config, resize = reader.resized(config, options)
    found, coverage = stream.plan(
        _family(architecture, config),
        source,
        reader.wanted(config, architecture),
        optional=() if options.llm else architecture.optional,
        allow=options.allow,
        dtype=options.dtype,
        resize=resize,
    )
    coverage = replace(coverage, notes=tuple(notes))
    found |= _start_of_temperature(config, coverage)
    both = reader.tokenizers_of(src, architecture, options)
    reader.check_vocabularies(config, both)
    return ForeignCheckpoint(config, found, coverage, both)


def _start_of_temperature(config: Config, coverage: Coverage) -> dict[str, Leaf]:
    """Where the temperature is missing, the value that training starts it with."""
    if ("heads", "temp") not in coverage.missing:
        return {}
    start = np.array(config.model.qformer.initial_temperature, np.float32)
    return {"params/heads/temperature": Leaf((), start.dtype, (lambda: start,))}


def _family(architecture: Architecture, config: Config) -> Family:
    if not config.model.llm.tie_embeddings:
        return architecture.family
    # Some files hold the tied output matrix a second time.
    copies = (*architecture.family.derived, r"(language_model\.)?lm_head\.weight")
    return dataclasses.replace(architecture.family, derived=copies)


def _no_place(flag: str, value: str, why: str) -> ConversionError:
    return ConversionError(
        f"this checkpoint needs no other language model: {why}",
        where=f"--{flag}={value}",
        expected="the visual part of a split checkpoint",
        fix=f"leave --{flag} out",
    )


# --- split and delta ------------------------------------------------------------------------------


def _with_language_model(
    config: Config, raw: Mapping, source: Source, where: str, options: Options, notes: list[str]
) -> tuple[Config, Source]:
    """The released Ziya-Visual Base: the visual part, and a LLaMA in a directory of its own."""
    text = raw.get("text_config")
    text = text if isinstance(text, dict) else {}
    if options.llm is None:
        if options.base:
            raise _no_place("base", options.base, "it has none, and --llm gives none")
        # Its width is that of the projection; nothing else of it is used.
        width = config_json.whole(text, "hidden_size", 5120, where)
        llm = replace(config.model.llm, width=width, heads=1, kv_heads=1)
        config = replace(config, model=replace(config.model, llm=llm))
        return config_json.checked(config, where), source
    place = Path(options.llm) / "config.json"
    llm = architectures.read_json(place)
    model = config_json.with_language_model(config.model, llm, str(place))
    token = raw.get("image_token_index")
    if isinstance(token, int):
        model = replace(model, image_token_id=token)
    config = config_json.checked(replace(config, model=model), where)
    weights = open_source(options.llm)
    if options.base:
        weights = _complete(weights, options, notes)
    return config, together(source, Renamed(weights, lambda name: f"language_model.{name}"))


def _complete(weights: Source, options: Options, notes: list[str]) -> Source:
    whole = delta.Sum(
        weights, open_source(options.base), options.delta_kind, wide=options.dtype is not None
    )
    notes.append(whole.note)
    return whole


def _refuse_delta(source: Source) -> None:
    norm = next((name for name in source.specs if name.endswith("model.norm.weight")), None)
    if norm is not None and delta.is_difference(source, norm):
        raise ConversionError(
            "the language model is a difference to LLaMA, not a model of its own",
            where=source.where,
            expected="merged weights, or the LLaMA that the difference belongs to",
            fix="add --base=DIRECTORY of that LLaMA",
        )


# --- names, files, sizes --------------------------------------------------------------------------


def _modern(source: Source) -> Source:
    """The first checkpoints of BERT call the two halves of a norm gamma and beta."""
    if not any(name.endswith("LayerNorm.gamma") for name in source.specs):
        return source
    ends = {"gamma": "weight", "beta": "bias"}
    return Renamed(source, lambda name: re.sub(r"(?<=LayerNorm\.)\w+$", lambda m: ends[m[0]], name))


def _side(src: Path, source: Source) -> Source:
    side = src / SIDE_FILE
    return together(source, open_source(side)) if side.is_file() else source
