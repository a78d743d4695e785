"""YAML of others: every fault is a ValueError, and nothing is larger than its text."""

from __future__ import annotations

from typing import Any

import yaml

LARGEST = 1 << 20  # bytes of a task or a prompt pack


def loads(data: bytes) -> Any:
    """What YAML means, of plain types.

    Aliases are refused: thirty lines of them name more values than memory holds.

    Raises:
        ValueError: it is no such YAML; what its library says of it.
    """
    if len(data) > LARGEST:
        raise ValueError(f"more than {LARGEST:,} bytes")
    try:
        for event in yaml.parse(data, yaml.SafeLoader):
            if isinstance(event, yaml.AliasEvent):
                line = event.start_mark.line + 1
                raise ValueError(f"line {line}: an alias, *{event.anchor}; write out what it means")
        return yaml.safe_load(data)
    except (yaml.YAMLError, RecursionError, LookupError, AttributeError, TypeError) as error:
        raise ValueError(f"{type(error).__name__}: {error}") from None  # of "!!int ''" and the like
