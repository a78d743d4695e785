"""Replies in the form of a JSON schema.

A request asks for the form with `response_format`; a client leaves that out where the server does
not know it. Either way the text is read here: strictly if it can be, else with what models put
around JSON, add to it or break in it mended. The reply keeps its text as it came.

A text that was cut off can be mended, too, and is half an answer then: look at the reply's
`finish_reason`.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from zv_jax import json_input
from zv_jax.errors import DataError

# Characters that are mended: more is no answer to a question about an image, and what is no JSON at
# all takes time with its square, some seconds of as many.
_LARGEST = 1 << 14
_DEEPEST = 40  # brackets within each other that are mended
_CROSSED = 100  # closing brackets of another kind than the last open one, or of none
_NAME = re.compile(r"""["'“]([^"'“”\\]+)["'”]\s*[:：]""")  # of a field, as models may write it
_STARTS = 20  # places at which sound JSON is looked for
_SOUND = json.JSONDecoder(object_pairs_hook=json_input.named_once)


def response_format(name: str, schema: Mapping[str, Any]) -> dict[str, Any]:
    """The parameter of a request that asks for `schema`; `name` is for the server's eyes."""
    return {
        "type": "json_schema",
        "json_schema": {"name": name, "schema": dict(schema), "strict": True},
    }


@dataclass(frozen=True)
class Structured:
    """A value that fits a schema, and whether the text had to be mended for it."""

    value: Any
    mended: bool


def read(text: str, schema: Mapping[str, Any]) -> Structured:
    """The value in the text of a reply.

    Raises:
        DataError: there is none, or it does not fit `schema` (JSON Schema, draft 2020-12).
    """
    mended = False
    try:
        given = json_input.parse(text, "a reply", once=True)
        value = _pruned(given, schema)
        mended, misfit = value != given, _misfit(value, schema)
    except DataError:
        misfit = "no JSON"
    if misfit:
        value, mended = _mended(text, schema), True
        misfit = _misfit(value, schema)
    if misfit:
        raise DataError(
            f"a reply of another form: {misfit}",
            where=f"{text!r:.200}",
            expected=f"JSON that fits {json.dumps(schema, ensure_ascii=False)[:300]}",
        )
    json_input.check_whole(value, "a reply")
    return Structured(value, mended)


def _mended(text: str, schema: Mapping[str, Any]) -> Any:
    """The first sound JSON in `text` that fits, else what can be made of it.

    Raises:
        DataError: there is none, or an object has a field twice, of which the mended one would have
            the last: a question with the answer to another.
    """
    import json_repair

    starts = [found.start() for found in re.finditer(r"[\[{]", text)]
    if not starts or len(text) > _LARGEST or not _in_order(text):
        raise DataError(
            "a reply without JSON that could be read",
            where=f"{text!r:.200}",
            expected="an object or a list",
        )
    for start in starts[:_STARTS]:
        with contextlib.suppress(ValueError, RecursionError):
            value, _ = _SOUND.raw_decode(text, start)
            value = _pruned(value, schema)
            if not _misfit(value, schema):
                return value
    try:
        value = json_repair.loads(text[starts[0] :].replace("```", ""))
    except (ValueError, RecursionError) as error:
        raise DataError(f"a reply that cannot be read: {error}", where=f"{text!r:.200}") from error
    named, kept = Counter(_NAME.findall(text)), Counter(_names(value))
    twice = next((name for name in kept if named[name] > kept[name]), None)
    if twice is not None:
        raise DataError(f"a reply with a field twice: {twice!r:.40}", where=f"{text!r:.200}")
    return _pruned(value, schema)


def _names(value: Any) -> Iterator[str]:
    """Names of the fields of all objects in a value, each as often as it is there."""
    if isinstance(value, dict):
        yield from value
        for inner in value.values():
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _names(inner)


def _pruned(value: Any, schema: Mapping[str, Any]) -> Any:
    """`value` without fields that `schema` does not have, where it allows no others."""
    if isinstance(value, dict) and schema.get("additionalProperties") is False:
        fields = schema["properties"]
        return {name: _pruned(v, fields[name]) for name, v in value.items() if name in fields}
    if isinstance(value, list) and "items" in schema:
        return [_pruned(inner, schema["items"]) for inner in value]
    return value


def _in_order(text: str) -> bool:
    """Whether brackets, those in strings included, are nested about as in JSON: a text that only
    looks so is mended in time with its square."""
    waiting: list[str] = []
    crossed = 0
    for bracket in re.findall(r"[\[\]{}]", text):
        if bracket in "[{":
            waiting.append(bracket)
        elif not waiting or waiting.pop() + bracket not in ("[]", "{}"):
            crossed += 1
        if len(waiting) > _DEEPEST or crossed > _CROSSED:
            return False
    return True


def _misfit(value: Any, schema: Mapping[str, Any]) -> str:
    """Why `value` does not fit; "" where it does."""
    import jsonschema

    errors = jsonschema.Draft202012Validator(dict(schema)).iter_errors(value)
    error = jsonschema.exceptions.best_match(errors)
    return "" if error is None else f"{error.json_path}: {error.message[:200]}"
