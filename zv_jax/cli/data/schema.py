"""`zv data schema`: the record as JSON Schema."""

from __future__ import annotations

import json

from absl import flags

USAGE = """
usage: zv data schema
"""


def define(values: flags.FlagValues) -> None:
    """It has no flags."""


def run(values: flags.FlagValues, words: list[str]) -> None:
    from zv_jax.data.records.schema import json_schema

    print(json.dumps(json_schema(), ensure_ascii=False, indent=2))
