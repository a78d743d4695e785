"""A view: what is known of an image in symbols, which is all that the language model gets of it.

The paper's two kinds (section 3.1, "Input Format"): captions, and boxes with labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from zv_jax import json_input
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import ImageRef, Object
from zv_jax.errors import DataError

LANGS = ("en", "zh")


@dataclass(frozen=True)
class View:
    """One image in symbols.

    Attributes:
      id: stable and unique: `<source>/<split>/<image>`.
      image: its address.
      captions, tags: texts by language (`en`, `zh`).
      objects: labelled boxes, xyxy in 0..1; `label` in English or the source's own language,
        `tag_zh` in Chinese.
      exhaustive: whether every instance of each label has a box, so that boxes can be counted.
      licence: of the image and its annotations.
      shown: (space, image id) pairs as guard lists name images; see `zv_jax.data.public.guard`.
      meta: what made it: models, revisions, thresholds.
    """

    id: str
    image: ImageRef
    captions: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    objects: tuple[Object, ...] = ()
    tags: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    exhaustive: bool = False
    licence: str = ""
    shown: tuple[tuple[str, str], ...] = ()
    meta: Mapping[str, Any] = field(default_factory=dict)

    def said(self, lang: str) -> tuple[str, ...]:
        """Captions in a language, or those in the other one where it has none."""
        return self.captions.get(lang) or next((c for c in self.captions.values() if c), ())


def to_json(view: View) -> dict[str, Any]:
    """The JSON object of a view, without what is empty."""
    image = {k: v for k, v in vars(view.image).items() if v is not None}
    boxes = [
        {k: v for k, v in vars(o).items() if v is not None and (k, v) != ("image", 0)}
        for o in view.objects
    ]
    out = {
        "id": view.id,
        "image": image,
        "captions": {lang: list(texts) for lang, texts in view.captions.items()},
        "objects": boxes,
        "tags": {lang: list(texts) for lang, texts in view.tags.items()},
        "exhaustive": view.exhaustive,
        "licence": view.licence,
        "shown": [list(pair) for pair in view.shown],
        "meta": dict(view.meta),
    }
    return {key: value for key, value in out.items() if value or key in ("id", "image")}


def from_json(data: Any, where: str = "view") -> View:
    """Reads and checks a view.

    Raises:
      DataError: naming `where` and the field that is wrong.
    """
    if not isinstance(data, Mapping):
        raise _wrong(where, "", data, "a JSON object")
    known = set(View.__dataclass_fields__)
    if unknown := sorted(set(data) - known):
        raise _wrong(where, unknown[0], data[unknown[0]], "one of " + ", ".join(sorted(known)))
    # Addresses and boxes are those of records: the same code checks them.
    own = {"source": "view", "split": "view", "task": "caption", "lang": "en", "turns": []}
    given = {"id": data.get("id"), "images": [data.get("image")], "objects": data.get("objects")}
    record = records_lib.from_json(own | given, where)
    return View(
        id=record.id,
        image=record.images[0],
        captions=_texts(data, "captions", where),
        objects=record.objects,
        tags=_texts(data, "tags", where),
        exhaustive=_of(data, "exhaustive", bool, False, where),
        licence=_of(data, "licence", str, "", where),
        shown=tuple(_pair(p, where) for p in _of(data, "shown", list, [], where)),
        meta=_of(data, "meta", dict, {}, where),
    )


def loads(line: str | bytes, where: str = "view") -> View:
    """Reads one line of JSON; `DataError` where it is no view."""
    return from_json(json_input.parse(line, where, once=True), where)


def _texts(data: Mapping[str, Any], name: str, where: str) -> dict[str, tuple[str, ...]]:
    found = _of(data, name, dict, {}, where)
    for lang, texts in found.items():
        right = isinstance(texts, list) and all(isinstance(t, str) and t.strip() for t in texts)
        if lang not in LANGS or not right:
            raise _wrong(where, f"{name}.{lang}", texts, "lists of texts under en and zh")
    return {lang: tuple(texts) for lang, texts in found.items()}


def _pair(value: Any, where: str) -> tuple[str, str]:
    right = isinstance(value, Sequence) and not isinstance(value, str) and len(value) == 2
    if not right or not all(isinstance(part, str) for part in value):
        raise _wrong(where, "shown", value, "pairs of a space and an image id")
    return value[0], value[1]


def _of(data: Mapping[str, Any], name: str, kind: type, default: Any, where: str) -> Any:
    value = data.get(name, default)
    if not isinstance(value, kind):
        raise _wrong(where, name, value, f"a {kind.__name__}")
    return value


def _wrong(where: str, name: str, value: Any, expected: str) -> DataError:
    what = f"Field {name!r} of a view is {value!r:.80}" if name else f"A view is {value!r:.80}"
    return DataError(what, where, expected, "zv bmmic symbols writes views")
