"""Every field of a configuration does something; those that went are still read in checkpoints."""

import ast
import dataclasses
import typing
from pathlib import Path

import pytest

from zv_jax.checkpoints.compatibility import changes, fields_of
from zv_jax.config import Config
from zv_jax.config.build import RETIRED, recipe, to_dict, validate
from zv_jax.errors import ConfigError

ROOT = Path(__file__).resolve().parents[2]


def fields(section: type, path: str = "") -> dict[str, str]:
    """Dotted names of all fields below a section, and their own."""
    found = {}
    for name, kind in typing.get_type_hints(section).items():
        inner = [k for k in (kind, *typing.get_args(kind)) if dataclasses.is_dataclass(k)]
        for part in inner:
            found |= fields(part, f"{path}{name}.")
        if not inner:
            found[path + name] = name
    return found


# What a section is called where its fields are read; others have attributes of these names too.
CALLED = {"cfg", "config", "_config", "item", "source", "s", "wanted", "scaling"}


def test_every_field_is_read_somewhere():
    files = [p for folder in ("zv_jax", "evaluation") for p in (ROOT / folder).rglob("*.py")]
    read = {
        (
            "cfg"
            if file.name in ("presets.py", "prompt.py")
            else ast.unparse(node.value).split(".")[-1],
            node.attr,
        )
        for file in files
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load)
    }
    names = fields(Config)
    assert len(names) > 100 and "data.sources.max_length" in names
    unread = [
        path
        for path, name in names.items()
        if not any((base, name) in read for base in {*CALLED, *path.split(".")})
    ]
    assert unread == []


def test_checkpoints_that_hold_a_retired_field_are_read_and_continued():
    now = to_dict(validate(recipe("tiny_base")))
    before = to_dict(validate(recipe("tiny_base")))
    before["model"]["attention"] = "xla"
    assert to_dict(validate(before)) == now
    assert changes(fields_of(before, {}), fields_of(now, {})) == []


@pytest.mark.parametrize("path", RETIRED)
def test_a_recipe_with_a_retired_field_is_told_what_became_of_it(path):
    section, name = path.split(".")
    with pytest.raises(ConfigError, match="no longer exists") as refused:
        recipe("tiny_base", **{section: {name: "xla"}})
    assert refused.value.where == path and refused.value.fix == RETIRED[path]
    assert path not in fields(Config)
