"""Small files of a workdir, written whole or not at all."""

from __future__ import annotations

import json
import os
from pathlib import Path


def write_json(path: Path, value: object) -> None:
    """Writes JSON (NaN as null) under a temporary name, then renames it."""
    part = path.with_name(path.name + ".part")
    part.write_text(json.dumps(plain(value), indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(part, path)


def plain(value: object) -> object:
    """`value` with null for numbers that JSON does not know."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, float) and value - value != 0:
        return None
    return value
