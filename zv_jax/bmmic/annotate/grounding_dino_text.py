"""How names are written for Grounding DINO: `name. other name.`, and where their tokens are."""

from __future__ import annotations

from collections.abc import Iterator, Sequence


def clean(name: str) -> str:
    """A name as the model's text has it: lower case, no full stop of its own."""
    return " ".join(name.lower().replace(".", " ").split())


def spans_of(lengths: Sequence[int]) -> list[tuple[int, int]]:
    """The tokens of each name in `[CLS] name . name . [SEP]`, names of `lengths` tokens."""
    spans, start = [], 1
    for length in lengths:
        spans.append((start, start + length))
        start += length + 1
    return spans


def groups(lengths: Sequence[int], room: int) -> Iterator[list[int]]:
    """Consecutive numbers whose lengths fit into `room`.

    A length counts the full stop. What never fits, and a name without a token, is left out.
    """
    group: list[int] = []
    left = room
    for number, length in enumerate(lengths):
        if not 1 < length <= room:
            continue
        if length > left:
            yield group
            group, left = [], room
        group.append(number)
        left -= length
    if group:
        yield group
