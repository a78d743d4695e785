"""Pairs that were kept, as records: boxes as `<obj_k>`, images by reference, their origin."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from zv_jax.bmmic.filters import words
from zv_jax.bmmic.filters.boxes import given, quoted
from zv_jax.bmmic.pair import Pair
from zv_jax.data.records import record as records_lib
from zv_jax.data.records.record import Object, Record, Turn
from zv_jax.errors import DataError

GENERATED = "bmmic"
SPLIT = "train"
_TOLERANCE = 0.01


def record_of(pair: Pair) -> Record:
    """The record of a pair: of a translation its original in other words, else a new one.

    Raises:
      DataError: the original of a translation and its pair do not fit each other.
    """
    return _translated(pair) if "record" in pair.meta else _generated(pair)


def target(pair: Pair) -> str:
    """The set that a pair belongs to: `bmmic`, or the translation of another set."""
    return str(pair.meta.get("target", GENERATED))


def _generated(pair: Pair) -> Record:
    turns = tuple(Turn(t.role, t.text.replace("<image>", "").strip()) for t in pair.turns)
    turns, things = placed(turns, pair.view.objects)
    made = {key: value for key, value in pair.meta.items() if key in ("pack", "model", "request")}
    facts = {"licence": pair.view.licence, **made}
    if pair.rewriting:
        facts |= {"rewriting": pair.rewriting, "parent": f"{GENERATED}/{SPLIT}/{pair.parent_id}"}
    return Record(
        id=f"{GENERATED}/{SPLIT}/{pair.id}",
        source=GENERATED,
        split=SPLIT,
        task=pair.kind,
        lang=pair.lang,
        images=(pair.view.image,),
        turns=turns,
        objects=things,
        meta=facts,
    )


def placed(
    turns: Sequence[Turn], objects: Sequence[Object]
) -> tuple[tuple[Turn, ...], tuple[Object, ...]]:
    """Turns with `<obj_k>` in place of boxes, and the objects that they mention, numbered anew.

    A text of ours never holds coordinates: they move with the image when it is cut or padded.
    """
    used: dict[int, int] = {}
    out = []
    for turn in turns:
        text, mentioned = words.normal(turn.text), []
        found = [(match, _object(match[0], objects)) for match in words.BOX.finditer(text)]
        if not any(number is not None for _, number in found):
            out.append(turn)
            continue
        parts, end = [], 0
        for match, number in found:
            if number is not None:
                parts += [text[end : match.start()], f"<obj_{used.setdefault(number, len(used))}>"]
                mentioned.append((used[number],))
                end = match.end()
        out.append(Turn(turn.role, "".join([*parts, text[end:]]), tuple(mentioned)))
    return tuple(out), tuple(objects[number] for number in used)


def _object(text: str, objects: Sequence[Object]) -> int | None:
    found = quoted(text)
    numbers = given(found[0][1], objects, _TOLERANCE) if found and len(found[0][1]) == 4 else []
    return numbers[0] if numbers else None


def _translated(pair: Pair) -> Record:
    original = records_lib.from_json(pair.meta["record"], pair.id)
    words_of = dict(zip((t.text for t in pair.source), (t.text for t in pair.turns), strict=True))
    try:
        turns = tuple(
            dataclasses.replace(turn, text=words_of[turn.text]) for turn in original.turns
        )
        answers = original.answers and tuple(words_of[answer] for answer in original.answers)
    except KeyError as error:
        raise DataError(
            f"a text of the original was not translated: {str(error)[:80]}",
            where=pair.id,
            expected="the pair that `zv bmmic translate` wrote",
        ) from error
    facts: Mapping[str, Any] = {
        **original.meta,
        "licence": pair.view.licence,
        "original": original.id,
        **{key: value for key, value in pair.meta.items() if key in ("pack", "model", "request")},
    }
    return dataclasses.replace(
        original,
        id=pair.id,
        source=target(pair),
        split=SPLIT,
        lang=pair.lang,
        turns=turns,
        answers=answers,
        translated_from="en" if pair.lang == "zh" else "zh",
        meta=facts,
    )
