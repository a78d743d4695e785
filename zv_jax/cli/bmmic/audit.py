"""`zv bmmic audit`: a page to accept or reject pairs by hand, and what the filters make of it."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.cli.bmmic import common

USAGE = """
usage: zv bmmic audit --config FILE --workdir DIR [--count=60]
       zv bmmic audit --workdir DIR --decisions FILE[,FILE]

  zv bmmic audit --config configs/bmmic/quickstart.py --workdir runs/bmmic --count=100
  zv bmmic audit --workdir runs/bmmic --decisions decisions.json

Writes audit/index.html, one file for any browser: images with boxes, prompts, raw replies, and the
verdict of every filter. A accepts, R rejects, S saves the decisions. With --decisions it compares
these with the filters, per filter and language, and people with each other.
"""
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    common.define(values)
    flags.DEFINE_integer("count", 60, "pairs on the page, half of them dropped", 1,
                         flag_values=values)  # fmt: skip
    flags.DEFINE_list("decisions", [], "files that the page saved", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    if values.decisions:
        from zv_jax.bmmic.audit import decisions

        workdir = Path(required(values, "workdir", "runs/bmmic"))
        found = decisions.report(workdir, [Path(name) for name in values.decisions])
        print(decisions.render(found))
        return
    config, workdir = common.setting(values)
    from zv_jax.bmmic.audit import run as audit

    page, count = audit.run(config, workdir, values.count)
    print(f"{page}: {count} pairs")
