"""The tables of names beside this module."""

from __future__ import annotations

from importlib import resources

import yaml


def data_file(name: str) -> dict:
    """Reads a YAML file that lies beside this module."""
    text = resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
    return yaml.safe_load(text)
