"""The one record every reader writes and every consumer reads, with its JSON form and its checks.

Texts hold raw words with the placeholders ``<image>`` and ``<obj_k>`` only; templates and box text
are applied at load time, after the image transforms, so that crops and padding can move the boxes
first.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.errors import DataError, nearest, unknown_name

TASKS: tuple[str, ...] = (
    "caption",
    "vqa",
    "mc_vqa",
    "ref_ground",
    "ref_caption",
    "conversation",
    "detail",
    "reason",
    "translate",
    "match",
    "retrieval",
)
LANGS: tuple[str, ...] = ("en", "zh", "en-zh")
ROLES: tuple[str, ...] = ("user", "assistant")

Box = tuple[float, float, float, float]
_HALF = re.compile("[\ud800-\udfff]")
OBJECT = re.compile(r"<obj_(\d+)>")


@dataclass(frozen=True)
class ImageRef:
    """Where an image is, never the image itself.

    Exactly one of ``path``, ``shard_key``, ``url`` is set.

    ``width`` and ``height`` are those of the stored pixels, None where the source does not say.
    """

    path: str | None = None
    shard_key: str | None = None
    width: int | None = None
    height: int | None = None
    sha1: str | None = None
    url: str | None = None


@dataclass(frozen=True)
class Turn:
    """One utterance. ``boxes`` holds, per mention in the text, indices into the objects."""

    role: str
    text: str
    boxes: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True)
class Object:
    """A labelled region; ``box`` is xyxy in 0..1 of the record's original image ``image``."""

    box: Box
    label: str
    score: float | None = None
    tag_zh: str | None = None
    image: int = 0


@dataclass(frozen=True)
class Record:
    """One sample of any data set.

    Attributes:
      id: ``"<source>/<split>/<native id>[#k]"``, stable and unique.
      source: registry key of the data set; ``split`` its native split name.
      task: one of `TASKS`; ``lang`` one of `LANGS`, the language of the target text.
      images: images in order; turns: the dialogue; objects: regions the texts may mention.
      answers: all references, with optional ``weights`` of the same length.
      choices: options of a multiple-choice question, with ``answer_index`` into them.
      translated_from: ``"en"`` or ``"zh"`` where the text is a translation.
      meta: anything else (question type, licence, domain...), JSON values only.
    """

    id: str
    source: str
    split: str
    task: str
    lang: str
    images: tuple[ImageRef, ...]
    turns: tuple[Turn, ...]
    objects: tuple[Object, ...] = ()
    answers: tuple[str, ...] | None = None
    weights: tuple[float, ...] | None = None
    choices: tuple[str, ...] | None = None
    answer_index: int | None = None
    translated_from: str | None = None
    meta: Mapping[str, Any] = field(default_factory=dict)


_DEFAULTS = {
    cls: tuple((f.name, f.default) for f in fields(cls)) for cls in (Record, ImageRef, Turn, Object)
}


def _plain(value: Any) -> Any:
    """Dataclasses to dicts without their unset fields, tuples to lists."""
    kind = type(value)
    if kind is str or kind is float or kind is int or value is None:
        return value
    if kind in _DEFAULTS:
        items = ((name, getattr(value, name), default) for name, default in _DEFAULTS[kind])
        return {name: _plain(v) for name, v, default in items if v is not default and v != default}
    if isinstance(value, tuple | list):
        return [_plain(v) for v in value]
    if isinstance(value, Mapping):
        return {k: _plain(v) for k, v in value.items()}
    return value


def to_json(record: Record) -> dict[str, Any]:
    """Returns the JSON object of a record, without fields at their default."""
    out = _plain(record)
    if not out["meta"]:
        del out["meta"]
    return out


@functools.cache
def _names(cls: type) -> tuple[str, ...]:
    return tuple(f.name for f in fields(cls))


class _Reader:
    """Reads fields of one JSON object and names the field in every complaint."""

    def __init__(self, data: Any, where: str, path: str, cls: type):
        if not isinstance(data, Mapping):
            raise _bad(where, path or "record", data, "a JSON object")
        self.data, self.where, self.path = data, where, path
        valid = _names(cls)
        for name in data:
            if name not in valid:
                raise unknown_name(
                    "field",
                    self.name(name),
                    [self.name(field) for field in valid],
                    where,
                    fix="rename or remove the field; extra facts belong in 'meta'",
                    error=DataError,
                )

    def name(self, key: str) -> str:
        return f"{self.path}.{key}" if self.path else key

    def get(
        self, key: str, kind: type | tuple[type, ...], wanted: str, required: bool = False
    ) -> Any:
        value = self.data.get(key)
        if value is None:
            if required:
                raise _bad(self.where, self.name(key), None, wanted)
            return None
        # bool is an int in Python; a true/false where a number belongs is a mistake in the file.
        if not isinstance(value, kind) or isinstance(value, bool):
            raise _bad(self.where, self.name(key), value, wanted)
        return value

    def text(self, key: str, required: bool = False) -> str | None:
        return self.whole_characters(key, self.get(key, str, "a string", required))

    def whole_characters(self, name: str, text: str | None) -> str | None:
        """`text`, which nobody could write to a file if it held half a character."""
        if text is not None and not text.isascii() and _HALF.search(text):
            raise _bad(
                self.where,
                self.name(name),
                ascii(text),
                "characters, not halves of a surrogate pair",
            )
        return text

    def words(self, key: str) -> str:
        """A required text that is not blank."""
        value = self.text(key, required=True)
        if not value.strip():
            raise _bad(self.where, self.name(key), value, "a text that is not blank")
        return value

    def whole(self, key: str) -> int | None:
        return self.get(key, int, "a whole number")

    def real(self, key: str) -> float | None:
        value = self.get(key, (int, float), "a number")
        if value is not None and json_input.finite(value) is None:
            raise _bad(self.where, self.name(key), value, "a finite number")
        return value

    def reals(self, key: str) -> tuple[float, ...] | None:
        """A list of numbers; whether they are finite is for `rules` to say."""
        values = self.items(key, (int, float), "number")
        try:
            return None if values is None else tuple(float(value) for value in values)
        except OverflowError:
            raise _bad(self.where, self.name(key), values, "numbers of usual size") from None

    def facts(self, key: str) -> dict[str, Any]:
        """An object of anything that JSON can hold, which is made sure of."""
        values = dict(self.get(key, Mapping, "a JSON object") or {})
        if values:
            self._writable(key, values)
        return values

    def _writable(self, key: str, values: dict[str, Any]) -> None:
        try:
            text = _WRITTEN(values)
            text.encode()
        except UnicodeEncodeError:
            found, wanted = "half a character", "characters, not halves of a surrogate pair"
        except RecursionError:
            found, wanted = "nested too deeply", "a few levels of lists and objects"
        except (TypeError, ValueError) as error:
            found, wanted = str(error), "values that JSON has: texts, finite numbers, lists..."
        else:
            if text.count("[") + text.count("{") > json_input.MAX_DEPTH:
                json_input.check_nesting(values, f"{self.where}, field {self.name(key)}")
            return
        raise _bad(self.where, self.name(key), found, wanted)

    def enum(self, key: str, valid: Sequence[str]) -> str:
        value = self.data.get(key)
        if not isinstance(value, str):
            value = self.get(key, str, "one of " + ", ".join(valid), required=True)
        if value not in valid:
            raise _bad(
                self.where,
                self.name(key),
                value,
                "one of " + ", ".join(valid),
                nearest(value, valid),
            )
        return value

    def items(
        self, key: str, kind: type | tuple[type, ...], wanted: str, required: bool = False
    ) -> list | None:
        values = self.data.get(key)
        if not isinstance(values, list):
            values = self.get(key, (list, tuple), f"a list of {wanted}s", required)
        for i, value in enumerate(values or ()):
            if not isinstance(value, kind) or isinstance(value, bool):
                raise _bad(self.where, f"{self.name(key)}[{i}]", value, f"a {wanted}")
            if kind is str and not value.strip():
                raise _bad(self.where, f"{self.name(key)}[{i}]", value, "a text that is not blank")
            if kind is str:
                self.whole_characters(f"{key}[{i}]", value)
        return values


def _bad(where: str, name: str, value: Any, expected: str, hint: str = "") -> DataError:
    what = (
        f"Field {name!r} is missing"
        if value is None
        else f"Field {name!r} is {_short(value)}{hint}"
    )
    return DataError(
        what, where=where, expected=expected, fix=f"correct {name!r} in the file or its reader"
    )


def _short(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=False, default=repr)
    except (ValueError, RecursionError):
        return f"a {type(value).__name__} that cannot be shown"
    return text if len(text) <= 80 else text[:77] + "..."


def check_box(box: Any, where: str = "box", name: str = "box") -> Box:
    """Returns ``box`` as four floats with 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1.

    Raises:
      DataError: naming the field and the values.
    """
    wanted = "[x1,y1,x2,y2] with 0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1"
    numbers = isinstance(box, list | tuple) and all(
        isinstance(v, int | float) and not isinstance(v, bool) for v in box
    )
    if not numbers or len(box) != 4:
        raise _bad(where, name, box, wanted)
    try:
        x1, y1, x2, y2 = (float(v) for v in box)
    except OverflowError:  # a whole number of hundreds of digits
        raise _bad(where, name, box, wanted) from None
    if not (0 <= x1 < x2 <= 1 and 0 <= y1 < y2 <= 1):
        hint = "; pixels must be divided by the image's width and height" if max(box) > 1 else ""
        raise _bad(where, name, box, wanted, hint)
    return x1, y1, x2, y2


def _image(data: Any, where: str, path: str) -> ImageRef:
    r = _Reader(data, where, path, ImageRef)
    ref = ImageRef(
        r.text("path"),
        r.text("shard_key"),
        r.whole("width"),
        r.whole("height"),
        r.text("sha1"),
        r.text("url"),
    )
    if sum(v is not None for v in (ref.path, ref.shard_key, ref.url)) != 1:
        raise _bad(where, path, data, "exactly one of path, shard_key, url")
    for name in ("width", "height"):
        value = getattr(ref, name)
        if value is not None and value <= 0:
            raise _bad(where, f"{path}.{name}", value, "a positive number of pixels")
    return ref


def _turn(data: Any, where: str, path: str, objects: int) -> Turn:
    r = _Reader(data, where, path, Turn)
    role = r.enum("role", ROLES)
    # A question may be blank: a template asks it then.
    text = r.words("text") if role == "assistant" else r.text("text", required=True)
    groups = r.items("boxes", (list, tuple), "list of object indices") or []
    for name, indices in [("text", mentioned(text))] + [
        (f"boxes[{i}]", g) for i, g in enumerate(groups)
    ]:
        for k in indices:
            if not isinstance(k, int) or isinstance(k, bool) or not 0 <= k < objects:
                raise _bad(
                    where, f"{path}.{name}", k, f"an index into the record's {objects} objects"
                )
    return Turn(role, text, tuple(tuple(g) for g in groups))


def mentioned(text: str) -> list[int]:
    """The k of every `<obj_k>`; a number of more than nine digits is beyond any list."""
    return [int(k) if len(k) < 10 else 10**9 for k in OBJECT.findall(text)]


def _object(data: Any, where: str, path: str, images: int) -> Object:
    r = _Reader(data, where, path, Object)
    box = check_box(
        r.get("box", (list, tuple), "[x1,y1,x2,y2]", required=True), where, f"{path}.box"
    )
    image = r.whole("image") or 0
    if images and not 0 <= image < images:
        raise _bad(where, f"{path}.image", image, f"an index into the record's {images} images")
    return Object(box, r.words("label"), r.real("score"), r.text("tag_zh"), image)


def from_json(data: Any, where: str = "record") -> Record:
    """Reads and checks one record.

    Args:
      data: the decoded JSON object.
      where: ``"file:line"``, repeated in every error.

    Raises:
      DataError: naming ``where``, the field, its value and what was expected.
    """
    r = _Reader(data, where, "", Record)
    images = tuple(
        _image(v, where, f"images[{i}]")
        for i, v in enumerate(r.items("images", Mapping, "JSON object", True))
    )
    objects = tuple(
        _object(v, where, f"objects[{i}]", len(images))
        for i, v in enumerate(r.items("objects", Mapping, "JSON object") or ())
    )
    turns = tuple(
        _turn(v, where, f"turns[{i}]", len(objects))
        for i, v in enumerate(r.items("turns", Mapping, "JSON object", True))
    )
    placeholders = sum(t.text.count("<image>") for t in turns)
    if placeholders > len(images):
        raise _bad(
            where,
            "turns",
            placeholders,
            f"at most {len(images)} <image> placeholders, one per image",
        )
    answers = r.items("answers", str, "string")
    weights = r.reals("weights")
    if weights is not None and len(weights) != len(answers or ()):
        raise _bad(where, "weights", weights, "one weight per answer")
    choices = r.items("choices", str, "string")
    index = r.whole("answer_index")
    if index is not None and not 0 <= index < len(choices or ()):
        raise _bad(where, "answer_index", index, f"an index into the {len(choices or ())} choices")
    return Record(
        id=r.words("id"),
        source=r.words("source"),
        split=r.words("split"),
        task=r.enum("task", TASKS),
        lang=r.enum("lang", LANGS),
        images=images,
        turns=turns,
        objects=objects,
        answers=None if answers is None else tuple(answers),
        weights=weights,
        choices=None if choices is None else tuple(choices),
        answer_index=index,
        translated_from=r.text("translated_from"),
        meta=r.facts("meta"),
    )


_WRITTEN = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def dumps(record: Record) -> str:
    """Returns the record as one line of JSON, Chinese readable.

    Raises:
      DataError: it holds what no file of JSON can, such as NaN or half a surrogate pair.
    """
    try:
        text = _WRITTEN(to_json(record))
        text.encode()
        return text
    except (ValueError, TypeError, RecursionError) as error:
        raise DataError(
            f"A record that cannot be written: {type(error).__name__}: {str(error)[:200]}",
            where=ascii(record.id),
            expected="texts of whole characters, finite numbers, values that JSON has",
            fix="correct the annotation it was read from",
        ) from None


def loads(line: str | bytes, where: str = "record") -> Record:
    """Reads one line of JSON; `DataError` for text that is not JSON or not a record."""
    # Every field is checked by its name: what is not strict JSON is found there.
    return from_json(json_input.parse(line, where, once=True, strict=False), where)


def read_jsonl(path: str | Path) -> Iterator[Record]:
    """Yields the records of a JSONL file; blank lines are skipped, errors name ``file:line``."""
    for number, line in json_input.numbered(path):
        yield loads(line, f"{path}:{number}")
