"""What a mixture must know of every record before it reads it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from zv_jax import json_input
from zv_jax.data.records import record as records_lib

_MANY = 2**15 - 1  # the most that `Facts` can count


@dataclass(frozen=True)
class RecordIndex:
    """What a mixture must know of every record before reading it; arrays [N].

    `task` indexes `records.TASKS`, `lang` indexes `records.LANGS`; `parts` counts the answers of
    the dialogue (0: there is nothing to learn), `images` the images.
    """

    task: np.ndarray
    lang: np.ndarray
    parts: np.ndarray
    images: np.ndarray


def facts_of(line: bytes, where: str) -> tuple[int, int, int, int]:
    """Task, lang, parts and images of a record, as in `Facts`, without reading all of it."""
    try:
        data = json_input.parse(line, where, strict=False)
        roles = [turn["role"] for turn in data["turns"]]
        if not set(roles) <= set(records_lib.ROLES):
            raise ValueError(roles)
        # A last question without an answer takes one from elsewhere; no turn at all, likewise.
        parts = roles.count("assistant")
        parts += (not roles or roles[-1] == "user") and _has_answer(data)
        return (
            records_lib.TASKS.index(data["task"]),
            records_lib.LANGS.index(data["lang"]),
            min(parts, _MANY),
            min(len(data["images"]), _MANY),
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        records_lib.loads(line, where)  # says which field is wrong
        raise


def _has_answer(data: dict[str, Any]) -> bool:
    """Whether there is an answer beside the turns, as `dialogue.pick_answer` finds it."""
    chosen = data.get("choices") and data.get("answer_index") is not None
    located = data.get("objects") and data["task"] in ("ref_ground", "ref_caption")
    return bool(data.get("answers") or chosen or located)
