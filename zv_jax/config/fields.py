"""Configuration fields by their dotted names, as people write them: `data.sources[0].langs`."""

from __future__ import annotations

from typing import Any

from ml_collections import ConfigDict


def leaves(config: Any, path: str = "") -> dict[str, Any]:
    """Flat `{"section.field": value}`; items of a list of sections are `name[0].field`."""
    if isinstance(config, (dict, ConfigDict)):
        found: dict[str, Any] = {}
        for key in config:
            found.update(leaves(config[key], f"{path}.{key}" if path else key))
        return found
    if isinstance(config, (tuple, list)) and any(
        isinstance(item, (dict, ConfigDict)) for item in config
    ):
        found = {}
        for index, item in enumerate(config):
            found.update(leaves(item, f"{path}[{index}]"))
        return found
    return {path: config}


def within(field: str, section: str) -> bool:
    """Whether `field` is `section` or lies in it: `data.sources[0].langs` lies in `data.sources`.

    `[*]` in `section` stands for any index.
    """
    pattern = section.split(".")
    parts = field.split(".")
    if len(parts) < len(pattern):
        return False
    return all(_same(part, wanted) for part, wanted in zip(parts, pattern, strict=False))


def _same(part: str, wanted: str) -> bool:
    name, bracket, _ = wanted.partition("[")
    if not bracket or wanted.endswith("[*]"):
        return part.partition("[")[0] == name
    return part == wanted
