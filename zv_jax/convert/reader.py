"""What the readers of all foreign formats share: options, an opened checkpoint, its tokenizers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from zv_jax import casts
from zv_jax.checkpoints import contents
from zv_jax.config import Config
from zv_jax.convert import config_json, names, stream, workdir
from zv_jax.convert.architectures import Architecture
from zv_jax.convert.coverage import Coverage
from zv_jax.convert.sources import Spec
from zv_jax.convert.stream import Leaf
from zv_jax.data.text import tokenizers
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import ConversionError
from zv_jax.models.vit import resize_positions

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
class ForeignCheckpoint:
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


def convert(opening: Callable[[], ForeignCheckpoint], src: str | Path, dst: str | Path) -> Coverage:
    """Writes what `opening` reads from `src` as a new workdir `dst`; raises as `hf.from_hf`."""
    with stream.building(dst) as folder:
        opened = opening()
        save(opened, folder, src)
        casts.say(opened.coverage.zeroed, str(src))
    return opened.coverage


def save(opened: ForeignCheckpoint, folder: Path, source: str | Path) -> None:
    """Writes an opened checkpoint into a workdir: weights, tokenizers, configuration."""
    about = provenance(opened, source)
    workdir.write(folder, opened.config, opened.leaves, opened.tokenizers, about)


def provenance(opened: ForeignCheckpoint, source: str | Path) -> dict[str, Any]:
    """Where converted weights came from, in JSON types."""
    name = Path(source).resolve().name
    return {"converted_from": name, "coverage": opened.coverage.to_dict()}


def wanted(config: Config, architecture: Architecture) -> dict[str, Spec]:
    """Shapes of the leaves of a run that are in the table of a class, by path."""
    known = {f"params/{path}" for path in names.paths(architecture.family.entries)}
    shapes = contents.needed(config)
    return {path: Spec(leaf.shape, leaf.dtype) for path, leaf in shapes.items() if path in known}


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


def tokenizers_of(
    src: Path, architecture: Architecture, options: Options
) -> tuple[Tokenizer | None, Tokenizer | None]:
    """The tokenizers of the language model and of the Q-Former, each as far as the class has one.

    Raises:
        DataError: one that `options` names is not there.
    """
    towers = {path.split("/")[0] for path in names.paths(architecture.family.entries)}
    tokenizer = qformer_tokenizer = None
    if options.tokenizer or "llm" in towers:
        places = [Path(options.tokenizer)] if options.tokenizer else []
        places += [Path(options.llm)] if options.llm else []
        tokenizer = find_tokenizer([*places, src], bool(options.tokenizer))
    if options.qformer_tokenizer:
        qformer_tokenizer = find_tokenizer([Path(options.qformer_tokenizer)], True)
    elif architecture.variant == "chat":
        inside = src / "qformer_tokenizer" if "llm" in towers else src
        qformer_tokenizer = find_tokenizer([inside], False)
    return tokenizer, qformer_tokenizer


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
    ConfigError: that of the language model cannot write the words of the prompt format.
    """
    if both[0] is not None:
        tokenizers.check_prompt(both[0], config.model.prompt)
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
