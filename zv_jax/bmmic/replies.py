"""What a reply says: turns of a pair, or rows of a translation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zv_jax.bmmic import pair as pairs
from zv_jax.data.records.record import Turn
from zv_jax.errors import DataError
from zv_jax.llm import structured

_TEXT = {"type": "string"}
TURNS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "turns": {
            "type": "array",
            "minItems": 1,
            "items": {
                "type": "object",
                "properties": {"question": _TEXT, "answer": _TEXT},
                "required": ["question", "answer"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["turns"],
    "additionalProperties": False,
}
ROWS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "rows": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"i": {"type": "integer"}, "q": _TEXT, "a": _TEXT},
                "required": ["i", "q", "a"],
                "additionalProperties": False,
            },
        }
    },
    "required": ["rows"],
    "additionalProperties": False,
}


def turns(text: str) -> tuple[Turn, ...]:
    """The turns that a reply holds.

    Raises:
      DataError: it holds none.
    """
    found = structured.read(text, TURNS).value["turns"]
    return pairs.turns(*(side.strip() for t in found for side in (t["question"], t["answer"])))


def rows(text: str, wanted: Sequence[int]) -> dict[int, tuple[str, str]]:
    """{number: (question, answer)} of a translation; numbers that were not asked for are left out,
    and so are those that came back twice.

    Raises:
      DataError: the reply holds no rows.
    """
    found: dict[int, tuple[str, str]] = {}
    twice = set()
    for row in structured.read(text, ROWS).value["rows"]:
        if row["i"] in found:
            twice.add(row["i"])
        found[row["i"]] = (row["q"].strip(), row["a"].strip())
    return {i: found[i] for i in wanted if i in found and i not in twice}


def reason(error: DataError) -> str:
    """Why a reply could not be read, in a line."""
    return f"unreadable: {error.what}"
