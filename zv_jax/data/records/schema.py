"""The record as a JSON Schema (draft 2020-12), derived from the dataclasses of `records`.

What a schema cannot say (x1 < x2, indices into other lists, one placeholder per image) only
`records.from_json` checks: every record it accepts satisfies the schema, not the other way round.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Any

from zv_jax.data.records import record as records
from zv_jax.data.records.record import ImageRef, Object, Record, Turn

_NAMES = {ImageRef: "image", Turn: "turn", Object: "object"}
_PLAIN = {str: "string", int: "integer", float: "number"}
_ENUMS = {(Record, "task"): records.TASKS, (Record, "lang"): records.LANGS}
_ENUMS[Turn, "role"] = records.ROLES
_NOT_BLANK = {(Record, "id"), (Record, "source"), (Record, "split"), (Object, "label")}
_TEXT = {"type": "string", "pattern": r"\S"}
_ABOUT = {
    (Record, "id"): "<source>/<split>/<native id>[#k], stable and unique",
    (Record, "source"): "name of the data set",
    (Record, "split"): "its own name of the split",
    (Record, "lang"): "language of the target text",
    (Record, "images"): "pictures in order, by reference",
    (Record, "turns"): "the dialogue; texts may hold <image> and <obj_k>",
    (Record, "objects"): "regions that the texts may mention as <obj_k>",
    (Record, "answers"): "all references",
    (Record, "weights"): "one per answer, how often it was given",
    (Record, "choices"): "options of a multiple-choice question",
    (Record, "answer_index"): "which of the choices is right, from 0",
    (Record, "translated_from"): "language of the original where the text is a translation",
    (Record, "meta"): "anything else",
    (ImageRef, "path"): "file, relative to the image root",
    (ImageRef, "shard_key"): "place in a shard: <file>#<address>",
    (ImageRef, "width"): "pixels of the stored picture",
    (ImageRef, "height"): "pixels of the stored picture",
    (Object, "box"): "[x1, y1, x2, y2] in 0..1 of the original picture, x1 < x2, y1 < y2",
    (Object, "image"): "which of the record's images, from 0",
    (Turn, "boxes"): "per mention in the text the indices of its objects",
}


def json_schema() -> dict[str, Any]:
    """The schema of one line of a record file."""
    schema = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "record"}
    return (
        schema | _object(Record) | {"$defs": {name: _object(cls) for cls, name in _NAMES.items()}}
    )


def _object(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    fields = dataclasses.fields(cls)
    properties, required = {}, []
    for field in fields:
        unset = field.default is dataclasses.MISSING and field.default_factory is (
            dataclasses.MISSING
        )
        if unset:
            required.append(field.name)
        properties[field.name] = _property(cls, field.name, hints[field.name], optional=not unset)
    schema: dict[str, Any] = {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }
    if cls is ImageRef:
        addresses = ("path", "shard_key", "url")
        schema["oneOf"] = [
            {"required": [name], "properties": {name: {"type": "string"}}} for name in addresses
        ]
    return schema


def _property(cls: type, name: str, hint: Any, optional: bool) -> dict[str, Any]:
    if (cls, name) in _ENUMS:
        schema: dict[str, Any] = {"enum": list(_ENUMS[cls, name])}
    elif (cls, name) in _NOT_BLANK:
        schema = dict(_TEXT)
    elif name in ("width", "height"):
        schema = {"type": "integer", "exclusiveMinimum": 0}
    else:
        schema = _type(hint)
    if optional:  # null is the same as leaving the field out
        schema = {"anyOf": [schema, {"type": "null"}]}
    about = _ABOUT.get((cls, name))
    return schema | ({"description": about} if about else {})


def _type(hint: Any) -> dict[str, Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _type(next(a for a in arguments if a is not types.NoneType))
    if origin is tuple and arguments[-1] is not Ellipsis:
        return {
            "type": "array",
            "items": {"type": "number", "minimum": 0, "maximum": 1},
            "minItems": len(arguments),
            "maxItems": len(arguments),
        }
    if origin is tuple:
        items = dict(_TEXT) if arguments[0] is str else _type(arguments[0])
        return {"type": "array", "items": items}
    if origin is Mapping:
        return {"type": "object"}
    return {"$ref": f"#/$defs/{_NAMES[hint]}"} if hint in _NAMES else {"type": _PLAIN[hint]}
