"""A tagger without a model: the things that the captions of an image name, by our own table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image

from zv_jax.bmmic.annotate.parts import Tag
from zv_jax.bmmic.filters import concepts
from zv_jax.bmmic.view import LANGS, View


class CaptionTagger:
    """Tags of captions in either language."""

    about: Mapping[str, Any] = {"kind": "captions"}

    def tags(self, images: Sequence[Image.Image], views: Sequence[View]) -> list[list[Tag]]:
        """The things named, in the order of the captions, each once."""
        return [[tag_of(name) for name in dict.fromkeys(_named(view))] for view in views]


def tag_of(name: str) -> Tag:
    """An English name with the Chinese one of the table of names, where that knows it."""
    return Tag(name, concepts.chinese_name(name))


def _named(view: View) -> list[str]:
    found = []
    for lang in LANGS:
        for text in view.captions.get(lang, ()):
            found += [m.concept.replace("_", " ") for m in concepts.mentions(text, lang)]
    return found
