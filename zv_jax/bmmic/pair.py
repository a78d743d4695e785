"""A pair: an instruction and its response about one image, on its way from the model to the set."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from zv_jax import json_input
from zv_jax.bmmic import view as views
from zv_jax.bmmic.view import View
from zv_jax.data.records.record import Turn
from zv_jax.errors import DataError

KINDS = ("conversation", "detail", "reason", "translate")
REWRITINGS = ("deepen", "concretize", "reasoning", "constraints")


@dataclass(frozen=True)
class Pair:
    """One or several exchanges about an image.

    Attributes:
      id: `<view>#<kind>-<lang>[-<rewriting>]`, stable and unique.
      lang: of the texts, `en` or `zh`.
      kind: one of `KINDS`; that of the parent for a rewriting.
      turns: user and assistant; empty where the reply could not be read.
      view: what the model knew of the image.
      rewriting: one of `REWRITINGS`, or empty.
      parent: turns that a rewriting began with; `parent_id` its id.
      source: turns that a translation began with, in the other language.
      finish_reason: as the server gave it; `stop` is the only good one.
      fault: why there are no turns; empty where there are.
      meta: model, prompt pack and its hash, key of the request, fields of the record translated.
    """

    id: str
    lang: str
    kind: str
    turns: tuple[Turn, ...]
    view: View
    rewriting: str = ""
    parent: tuple[Turn, ...] = ()
    parent_id: str = ""
    source: tuple[Turn, ...] = ()
    finish_reason: str = "stop"
    fault: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    @property
    def questions(self) -> list[str]:
        """Texts of the user."""
        return [turn.text for turn in self.turns if turn.role == "user"]

    @property
    def answers(self) -> list[str]:
        """Texts of the assistant."""
        return [turn.text for turn in self.turns if turn.role == "assistant"]

    @property
    def exchanges(self) -> list[tuple[str, str]]:
        """(question, answer) of each exchange."""
        return list(zip(self.questions, self.answers, strict=False))


def turns(*texts: str) -> tuple[Turn, ...]:
    """Turns of user and assistant, alternating from the user."""
    roles = ("user", "assistant")
    return tuple(Turn(roles[i % 2], text) for i, text in enumerate(texts))


_TURNS = ("turns", "parent", "source")


def to_json(pair: Pair) -> dict[str, Any]:
    """The JSON object of a pair, without fields at their default."""
    out: dict[str, Any] = {}
    for part in dataclasses.fields(pair):
        value = getattr(pair, part.name)
        if part.name in _TURNS:
            value = [[turn.role, turn.text] for turn in value]
        elif part.name == "view":
            value = views.to_json(value)
        if value != part.default and (value or part.name == "turns"):
            out[part.name] = dict(value) if part.name == "meta" else value
    return out


def from_json(data: Any, where: str = "pair") -> Pair:
    """Reads a pair that `to_json` wrote.

    Raises:
      DataError: naming `where` and the field that is wrong.
    """
    if not isinstance(data, Mapping):
        raise DataError(f"A pair is {data!r:.60}", where, "a JSON object", _FIX)
    known = {part.name for part in dataclasses.fields(Pair)}
    needed = {"id", "lang", "kind", "turns", "view"}
    wrong = sorted(set(data) - known) or sorted(needed - set(data))
    if wrong:
        raise DataError(f"Field {wrong[0]!r} of a pair is missing or unknown", where,
                        "the fields " + ", ".join(sorted(known)), _FIX)  # fmt: skip
    values = dict(data)
    for name in _TURNS:
        values[name] = tuple(_turns(data.get(name, ()), name, where))
    values["view"] = views.from_json(data["view"], where)
    for name, valid in (("kind", KINDS), ("lang", views.LANGS), ("rewriting", ("", *REWRITINGS))):
        if values.get(name, "") not in valid:
            raise DataError(f"Field {name!r} of a pair is {values[name]!r:.60}", where,
                            "one of " + ", ".join(filter(None, valid)), _FIX)  # fmt: skip
    return Pair(**values)


def loads(line: str | bytes, where: str = "pair") -> Pair:
    """Reads one line of JSON; `DataError` where it is no pair."""
    return from_json(json_input.parse(line, where, once=True), where)


def _turns(values: Iterable[Any], name: str, where: str) -> Iterable[Turn]:
    for value in values:
        right = isinstance(value, list | tuple) and len(value) == 2
        if not right or not all(isinstance(part, str) for part in value):
            raise DataError(f"A turn in {name!r} is {value!r:.60}", where, '["user", "text"]', _FIX)
        yield Turn(value[0], value[1])


_FIX = "zv bmmic generate, rewrite and translate write pairs"
