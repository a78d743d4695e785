"""The chain that a recipe names."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from typing import Any

from zv_jax.bmmic.annotate.chain import Chain, Limits
from zv_jax.bmmic.annotate.parts import Detector, Segmenter, Tagger
from zv_jax.bmmic.config import Annotate, Model
from zv_jax.errors import ConfigError, SetupError, nearest

_OWN = re.compile(r"[\w.]+:\w+")


def _captions(settings: Annotate) -> Tagger:
    from zv_jax.bmmic.annotate.captions import CaptionTagger

    return CaptionTagger()


def _florence2(settings: Annotate) -> Tagger:
    from zv_jax.bmmic.annotate.florence2 import Florence2Tagger

    return Florence2Tagger(settings.tagger, settings.device)


def _siglip(settings: Annotate) -> Tagger:
    from zv_jax.bmmic.annotate.siglip import SiglipTagger

    return SiglipTagger(settings.tagger, settings.device)


def _grounding_dino(settings: Annotate) -> Detector:
    from zv_jax.bmmic.annotate.grounding_dino import GroundingDino

    return GroundingDino(settings.detector, settings.device)


def _sam3(settings: Annotate) -> Detector:
    from zv_jax.bmmic.annotate.sam3 import Sam3

    return Sam3(settings.detector, settings.device, settings.tighten)


def _sam2(settings: Annotate) -> Segmenter:
    from zv_jax.bmmic.annotate.sam2 import Sam2

    return Sam2(settings.segmenter, settings.device)


TAGGERS = {"captions": _captions, "florence2": _florence2, "siglip": _siglip}
DETECTORS = {"grounding_dino": _grounding_dino, "sam3": _sam3}
SEGMENTERS = {"sam2": _sam2}


def open_chain(settings: Annotate) -> Chain:
    """Opens the parts; PyTorch is imported where one of them needs it.

    Raises:
      ConfigError: an unknown kind, a checkpoint that is not there, a part without facts.
      SetupError: PyTorch, torchvision or transformers are not installed.
    """
    segmenter = None
    if settings.segmenter.kind:
        segmenter = _part(settings.segmenter, "annotate.segmenter", SEGMENTERS, settings)
    return Chain(
        _part(settings.tagger, "annotate.tagger", TAGGERS, settings),
        _part(settings.detector, "annotate.detector", DETECTORS, settings),
        segmenter,
        Limits(settings.nms, settings.same, settings.tighten, settings.most),
    )


def _part(
    model: Model, where: str, known: dict[str, Callable[[Annotate], Any]], settings: Annotate
) -> Any:
    """A part of ours, or what `module:function` makes of the settings."""
    if model.kind in known:
        try:
            return known[model.kind](settings)
        except ImportError as error:
            raise SetupError(
                f"{model.kind} needs PyTorch, torchvision and transformers: {error}"[:300],
                where=f"{where}.kind",
                fix="pip install -e '.[annotate]'",
            ) from error
    if not _OWN.fullmatch(model.kind):
        raise ConfigError(
            f"unknown kind {model.kind!r}{nearest(model.kind, known)}",
            where=f"{where}.kind",
            expected=f"one of {', '.join(known)}, or module:function of your own",
        )
    module, _, name = model.kind.partition(":")
    try:
        made = getattr(importlib.import_module(module), name)(settings)
        dict(made.about)
    except (ImportError, AttributeError, TypeError) as error:
        raise ConfigError(
            f"{model.kind} makes no part: {error}",
            where=f"{where}.kind",
            expected="a function that takes the section `annotate` and returns an object with the "
            "methods of zv_jax.bmmic.annotate.parts, `about` among them",
        ) from error
    return made
