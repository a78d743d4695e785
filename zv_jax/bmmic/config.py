"""The configuration of a BMMIC run: every field, its default and its check."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import ml_collections

from zv_jax.bmmic.filters import detector
from zv_jax.bmmic.pair import REWRITINGS
from zv_jax.bmmic.prompts.examples import SELECTIONS
from zv_jax.bmmic.view import LANGS
from zv_jax.config.engine import Engine

GENERATED = ("conversation", "detail", "reason")
FORMATS = ("records", "llava", "shards", "tfds", "parquet")


@dataclass(frozen=True)
class Source:
    """Records to begin with."""

    name: str = "records"  # a data set of `zv data list`, zv_openmoji, or images: a bare folder
    root: str = ""  # its folder, or a .jsonl file of records; empty: the source's own place
    split: str = ""
    image_root: str = ""  # what image paths are relative to; empty: as `zv data convert` takes it


@dataclass(frozen=True)
class Symbols:
    """Views from annotated sets: those of `sources`, and what `more` knows of the same images."""

    sources: tuple[Source, ...] = ()
    more: tuple[Source, ...] = ()  # captions in the other language, boxes
    instances: str = ""  # instances_*.json of COCO: boxes with exhaustive labels
    guard: str = ""  # folder of `zv data guard`: images of evaluations are left out
    licence: str = ""  # empty: that of the card of the source
    limit: int = 0  # images per source; 0: all


@dataclass(frozen=True)
class Model:
    """One part of the chain that annotates images."""

    kind: str = ""  # which class; module:function for one of your own
    model: str = ""  # a folder, or a name in the local cache of the Hugging Face hub
    revision: str = ""  # of that name; of a folder, sha256:... of its weights, to be sure of them
    threshold: float = 0.25  # scores below go; not of florence2 and sam2, which give none


@dataclass(frozen=True)
class TaggerModel(Model):
    """The part that names what is in an image: captions, florence2 or siglip."""

    kind: str = "captions"
    tags: str = ""  # siglip: a file, english<TAB>chinese on each line; empty: our table of names
    most: int = 20  # siglip: tags of an image


@dataclass(frozen=True)
class Annotate:
    """Boxes for images without any, as by Grounded-SAM; none where `detector.kind` is empty."""

    tagger: TaggerModel = field(default_factory=TaggerModel)
    detector: Model = field(default_factory=Model)  # grounding_dino or sam3
    segmenter: Model = field(default_factory=Model)  # sam2; empty: boxes as the detector has them
    nms: float = 0.5  # IoU above which the weaker of two boxes of one label goes
    same: float = 0.9  # likewise of any two labels
    tighten: float = 0.5  # IoU with its box that the bounds of a mask need to replace it
    most: int = 30  # boxes of an image
    batch: int = 8  # images at a time
    device: str = "cpu"  # as PyTorch names it: cuda, cuda:1, mps


@dataclass(frozen=True)
class Server:
    """What is asked of the language model; its address and key come from the environment
    (ZV_BMMIC_URL, ZV_BMMIC_MODEL, ZV_BMMIC_KEY)."""

    url: str = ""
    model: str = ""
    temperature: float = 0.7
    max_tokens: int = 1024
    concurrency: int = 16
    per_minute: int = 0
    tokens_per_minute: int = 0
    timeout: float = 120.0
    tries: int = 6
    schema: bool = True  # ask for the form of the reply with response_format
    budget: float = 0.0  # dollars; 0: none is kept, and none is needed
    price_in: float = 0.0  # dollars for a million tokens
    price_out: float = 0.0


@dataclass(frozen=True)
class Generate:
    """New pairs from views."""

    kinds: tuple[str, ...] = GENERATED
    langs: tuple[str, ...] = LANGS
    examples: str = "random"  # which in-context examples: fixed, random (by id) or nearest
    shots: int = 2


@dataclass(frozen=True)
class Rewrite:
    """Other forms of pairs, at most one of each."""

    schemes: tuple[str, ...] = REWRITINGS
    share: float = 0.4  # of the pairs


@dataclass(frozen=True)
class Translate:
    """Records into the other language."""

    sources: tuple[Source, ...] = ()
    to: str = "zh"
    batch: int = 10  # exchanges in a request
    limit: int = 0  # records per source; 0: all
    guard: str = ""


@dataclass(frozen=True)
class Export:
    """What the set is written as."""

    formats: tuple[str, ...] = ("records", "llava", "shards", "tfds", "parquet")
    image_root: str = ""  # of the images; empty: that of the sources
    image_size: int = 0  # of the shards, in pixels; 0: images as they are
    title: str = "BMMIC"


@dataclass(frozen=True)
class Config:
    """Everything that decides a run."""

    seed: int = 0
    shard_size: int = 1000  # images or records in a shard
    packs: tuple[str, ...] = ()  # prompt packs of your own (.yaml), which replace those of one name
    symbols: Symbols = field(default_factory=Symbols)
    annotate: Annotate = field(default_factory=Annotate)
    server: Server = field(default_factory=Server)
    generate: Generate = field(default_factory=Generate)
    rewrite: Rewrite = field(default_factory=Rewrite)
    translate: Translate = field(default_factory=Translate)
    filters: detector.Settings = field(default_factory=detector.Settings)
    export: Export = field(default_factory=Export)


_ENGINE = Engine(
    Config,
    flag="config",
    choices={
        "generate.kinds": GENERATED,
        "generate.langs": LANGS,
        "generate.examples": tuple(SELECTIONS),
        "rewrite.schemes": REWRITINGS,
        "translate.to": LANGS,
        "export.formats": FORMATS,
        "filters.off": detector.NAMES,
    },
    positive=(
        "shard_size", "server.max_tokens", "server.concurrency", "server.timeout", "server.tries",
        "translate.batch", "annotate.batch", "annotate.most", "annotate.tagger.most",
    ),
    natural=(
        "seed", "generate.shots", "symbols.limit", "translate.limit", "server.per_minute",
        "server.temperature", "server.tokens_per_minute", "server.budget", "server.price_in",
        "server.price_out", "rewrite.share", "export.image_size", "filters.samples",
        "annotate.nms", "annotate.same", "annotate.tighten", "annotate.tagger.threshold",
        "annotate.detector.threshold",
    ),
    start="recipe() of zv_jax.bmmic.config",
)  # fmt: skip


def recipe(**sections: Any) -> ml_collections.ConfigDict:
    """A ConfigDict with every field, so that any can be overridden.

    Raises:
      ConfigError: an unknown field.
    """
    return _ENGINE.config_dict(Config(), sections)


def validate(config: ml_collections.ConfigDict | Mapping[str, Any]) -> Config:
    """The frozen, fully checked configuration.

    Raises:
      ConfigError: an unknown field, a wrong type or value; it names the field, the value, what was
        expected and the nearest valid name.
    """
    return _ENGINE.build(config)
