"""`zv config show`: a recipe with every field resolved."""

from __future__ import annotations

import json

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.config import flags as recipes
from zv_jax.config.fields import leaves
from zv_jax.tables import align

USAGE = """
usage: zv config show --config FILE[:ARG] [--config.section.field=value ...] [--json]

  zv config show --config configs/stage1.py:chat
  zv config show --config configs/stage1.py:chat --config.optimizer.lr=2e-5

Marks: * differs from the default, > given on the command line.
"""
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_bool("json", False, "print JSON instead of a table", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    given = required(values, "config", "configs/quickstart.py:stage0")
    if "model" not in given:  # an evaluation suite: no defaults to compare with
        print(_json(given.to_dict()) if values.json else table(leaves(given), {}, set()))
        return
    from zv_jax.config import build
    from zv_jax.config import schema as config_lib
    from zv_jax.models import presets

    config = build.validate(given)
    resolved = build.to_dict(config)
    if values.json:
        print(_json(resolved))
        return
    default = config_lib.Config(
        model=presets.preset(config.model.preset),
        data=config_lib.DataConfig(sources=(config_lib.SourceConfig(),) * len(config.data.sources)),
    )
    print(
        table(
            leaves(resolved),
            leaves(build.to_dict(default)),
            recipes.overridden(values),
        )
    )


def table(fields: dict, defaults: dict, given: set[str]) -> str:
    """One line per field: mark, name, value and, where it differs, the default."""
    rows = []
    for path, value in fields.items():
        shown = json.dumps(value, ensure_ascii=False)
        differs = path in defaults and defaults[path] != value
        named = any(path == g or path.startswith((g + ".", g + "[")) for g in given)
        mark = ">" if named else "*" if differs else " "
        note = f"   (default {json.dumps(defaults[path], ensure_ascii=False)})" if differs else ""
        rows.append((f"{mark} {path}", shown + note))
    return "\n".join(align(rows))


def _json(plain: dict) -> str:
    return json.dumps(plain, indent=2, ensure_ascii=False)
