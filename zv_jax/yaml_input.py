"""YAML of others: every fault is a ValueError, and nothing is larger or slower than its text."""

from __future__ import annotations

import re
from typing import Any

import yaml

LARGEST = 1 << 20  # bytes of a task or a prompt pack
MAX_DEPTH = 100  # of lists and mappings within others; the library takes time with its square
MAX_DIGITS = 4300  # of a number, as int has it; those such as 1:30:00 take time with their square

_DIGITS = re.compile(r"[-+.:\w]*")  # what any number of YAML consists of


def loads(data: bytes) -> Any:
    """What YAML means, of plain types.

    Aliases are refused: thirty lines of them name more values than memory holds.

    Raises:
        ValueError: it is no such YAML; what its library says of it.
    """
    if len(data) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} bytes")
    try:
        _check(data)
        return yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None  # of "!!int ''" and the like


def _check(data: bytes) -> None:
    """Raises:
    ValueError: there is an alias, or what takes more time than its length.
    """
    depth = 0
    for event in yaml.parse(data, yaml.SafeLoader):
        line = f"line {event.start_mark.line + 1}"
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"{line}: an alias, *{event.anchor}; write out what it means")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise ValueError(f"{line}: nested deeper than {MAX_DEPTH} levels")
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        elif isinstance(event, yaml.ScalarEvent) and len(event.value) > MAX_DIGITS:
            quoted = not event.implicit[0] and not event.tag  # and a text, therefore
            if not quoted and _DIGITS.fullmatch(event.value):
                raise ValueError(f"{line}: one word of more than {MAX_DIGITS:,} characters")
