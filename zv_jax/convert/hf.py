"""From Hugging Face: a directory of `save_pretrained` becomes a checkpoint of ours."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zv_jax import casts
from zv_jax.checkpoints import contents
from zv_jax.config import Config
from zv_jax.convert import architectures, asking, config_json, delta, names, stream, workdir
from zv_jax.convert.architectures import Architecture
from zv_jax.convert.coverage import Coverage
from zv_jax.convert.names import Family
from zv_jax.convert.sources import Renamed, Source, Spec, open_source, together
from zv_jax.convert.stream import Leaf
from zv_jax.data.text import tokenizers
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConfigError, ConversionError
from zv_jax.models.vit import resize_positions

SIDE_FILE = "zv_stage0.safetensors"  # the temperature and ITG head, which no class there has
POSITIONS = "params/vision/pos_embed"


@dataclass(frozen=True)
class Options:
    """How to convert.

    Attributes:
        allow: patterns of tensors that may be missing or unexpected.
        dtype: of all leaves; None keeps each as it is stored.
        image_size: to resize the position table to, in pixels; None keeps it.
        llm: directory of the language model of a split checkpoint.
        vision: file of the ViT that a checkpoint of LAVIS lacks.
        base: directory of the LLaMA that the language model is a difference to.
        delta_kind: which kind of difference it is, one of `delta.KINDS`; None finds it out.
        tokenizer, qformer_tokenizer: file or directory, where the checkpoint has none.
        prompt_format: how the model is asked; None finds it out.
    """

    allow: tuple[str, ...] = ()
    dtype: str | None = None
    image_size: int | None = None
    llm: str | None = None
    vision: str | None = None
    base: str | None = None
    delta_kind: str | None = None
    tokenizer: str | None = None
    qformer_tokenizer: str | None = None
    prompt_format: str | None = None


@dataclass(frozen=True)
class Opened:
    """A checkpoint of theirs, ready to be read leaf by leaf.

    Attributes:
        config: of a run of ours with the same model.
        leaves: by path ("params/...").
        coverage: what was found.
        tokenizers: of the language model and of the Q-Former; None where there is none.
    """

    config: Config
    leaves: dict[str, Leaf]
    coverage: Coverage
    tokenizers: tuple[Tokenizer | None, Tokenizer | None]


def from_hf(src: str | Path, dst: str | Path, options: Options = Options()) -> Coverage:
    """Converts the directory `src` into a new workdir `dst`, which holds one checkpoint.

    Raises:
        ConversionError, DataError, CheckpointError, EnvironmentProblem: the input is wrong or the
            disk full; `dst` is then as it was before.
    """
    return convert(lambda: open_hf(src, options), src, dst)


def convert(opening: Callable[[], Opened], src: str | Path, dst: str | Path) -> Coverage:
    """Writes what `opening` reads from `src` as a new workdir `dst`; raises as `from_hf`."""
    with stream.building(dst) as folder:
        opened = opening()
        save(opened, folder, src)
        casts.say(opened.coverage.zeroed, str(src))
    return opened.coverage


def save(opened: Opened, folder: Path, source: str | Path) -> None:
    """Writes an opened checkpoint into a workdir: weights, tokenizers, configuration."""
    about = provenance(opened, source)
    workdir.write(folder, opened.config, opened.leaves, opened.tokenizers, about)


def provenance(opened: Opened, source: str | Path) -> dict[str, Any]:
    """Where converted weights came from, in JSON types."""
    name = Path(source).resolve().name
    return {"converted_from": name, "coverage": opened.coverage.to_dict()}


def open_hf(src: str | Path, options: Options = Options()) -> Opened:
    """Reads everything of a directory but its values.

    Raises:
        ConversionError: it has no `config.json`, is of no class that is supported, or names, shapes
            or files do not fit.
    """
    src = Path(src)
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
    config, resize = resized(config, options)
    found, coverage = stream.plan(
        _family(architecture, config),
        source,
        wanted(config, architecture),
        optional=() if options.llm else architecture.optional,
        allow=options.allow,
        dtype=options.dtype,
        resize=resize,
    )
    coverage = replace(coverage, notes=tuple(notes))
    found |= _start_of_temperature(config, coverage)
    both = tokenizers_of(src, architecture, options)
    check_vocabularies(config, both)
    return Opened(config, found, coverage, both)


def _start_of_temperature(config: Config, coverage: Coverage) -> dict[str, Leaf]:
    """Where the temperature is missing, the value that training starts it with."""
    if ("heads", "temp") not in coverage.missing:
        return {}
    start = np.array(config.model.qformer.initial_temperature, np.float32)
    return {"params/heads/temperature": Leaf((), start.dtype, (lambda: start,))}


def wanted(config: Config, architecture: Architecture) -> dict[str, Spec]:
    """Shapes of the leaves of a run that are in the table of a class, by path."""
    known = {f"params/{path}" for path in names.paths(architecture.family.entries)}
    shapes = contents.needed(config)
    return {path: Spec(leaf.shape, leaf.dtype) for path, leaf in shapes.items() if path in known}


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


def resized(
    config: Config, options: Options
) -> tuple[Config, dict[str, Callable[[np.ndarray], np.ndarray]]]:
    """`config` with the image size that `options` asks for, and what makes the leaves fit it.

    Raises:
        ConversionError: the size is no multiple of the patches.
    """
    model = config.model
    if options.image_size in (None, model.vision.image_size):
        return config, {}
    vision = replace(model.vision, image_size=options.image_size)
    config = replace(config, model=replace(model, vision=vision))
    config = config_json.checked(config, "--image-size")
    side, clip = options.image_size // vision.patch_size, vision.family == "clip"
    return config, {POSITIONS: lambda table: resized_positions(table, side, clip)}


def resized_positions(table: np.ndarray, side: int, align_corners: bool = False) -> np.ndarray:
    """A position table [1, 1 + n * n, D] for `side` x `side` patches, computed in float32."""
    wide = resize_positions(np.asarray(table, np.float32), (side, side), align_corners)
    return casts.cast(np.asarray(wide), table.dtype, POSITIONS, "--image-size")


# --- tokenizers -----------------------------------------------------------------------------------


def tokenizers_of(
    src: Path, architecture: Architecture, options: Options
) -> tuple[Tokenizer | None, Tokenizer | None]:
    """The tokenizers of the language model and of the Q-Former, each as far as the class has one.

    Raises:
        DataError: one that `options` names is not there.
    """
    towers = {path.split("/")[0] for path in names.paths(architecture.family.entries)}
    own = other = None
    if options.tokenizer or "llm" in towers:
        places = [Path(options.tokenizer)] if options.tokenizer else []
        places += [Path(options.llm)] if options.llm else []
        own = find_tokenizer([*places, src], bool(options.tokenizer))
    if options.qformer_tokenizer:
        other = find_tokenizer([Path(options.qformer_tokenizer)], True)
    elif architecture.variant == "chat":
        inside = src / "qformer_tokenizer" if "llm" in towers else src
        other = find_tokenizer([inside], False)
    return own, other


def find_tokenizer(places: Sequence[Path], required: bool) -> Tokenizer | None:
    """The first tokenizer in `places`; a SentencePiece model before what was made from it.

    Raises:
        DataError: the first place has none and it is `required`.
    """
    for place in places[:1] if required else places:
        for kind, file in tokenizers.KINDS.items():
            if place.name == file or (place / file).is_file():
                return tokenizers.load(place if place.is_file() else place / file, kind)
    return tokenizers.load(places[0]) if required else None


def check_vocabularies(config: Config, both: tuple[Tokenizer | None, Tokenizer | None]) -> None:
    """Raises:
    ConversionError: a tokenizer has more ids than the model has rows.
    """
    rows = (config.model.llm.vocab_size, config.model.qformer.vocab_size)
    for tokenizer, size, tower in zip(both, rows, ("language model", "Q-Former"), strict=True):
        if tokenizer is not None and tokenizer.vocab_size > size:
            raise ConversionError(
                f"the tokenizer of the {tower} has {tokenizer.vocab_size} ids, its table {size} "
                "rows",
                where=tokenizer.where,
                expected=f"at most {size} ids",
                fix="give the tokenizer that the weights were trained with: "
                "--tokenizer or --qformer-tokenizer",
            )
