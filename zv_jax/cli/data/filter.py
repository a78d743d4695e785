"""`zv data filter`: web pairs cleaned by rules, duplicates and a CLIP score."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.cli.data import common, runners

USAGE = """
usage: zv data filter NAME --root=DIR --out=FILE
       zv data filter FILE --out=FILE

  zv data filter wukong --root=/data/wukong --scorer=models/chinese_clip --out=wukong.jsonl
"""
TAKES_WORDS = True


def define(values: flags.FlagValues) -> None:
    common.define_source(values)
    common.define_training(values)
    flags.DEFINE_string("out", None, "the file to write", flag_values=values)
    flags.DEFINE_string(
        "scorer", None, "directory of a CLIP model; none: rules only", flag_values=values
    )
    flags.DEFINE_float(
        "keep", None, "share of scored pairs kept (default: Table 1)", flag_values=values
    )
    flags.DEFINE_float("precision", None, "calibrate by shuffled pairs instead", flag_values=values)
    flags.DEFINE_list("rules", [], "limits, such as min_side=100", flag_values=values)
    flags.DEFINE_string(
        "report", None, "where to write the page (default: beside --out)", flag_values=values
    )
    runners.define(values)


def run(values: flags.FlagValues, names: list[str]) -> None:
    from zv_jax.data.cleaning import report, rules, run

    limits = rules.parse(values.rules)
    name = common.one_name("filter", names)
    records, root = common.records(values, name, values.purpose == "train")
    out = Path(required(values, "out", "clean.jsonl"))
    out.parent.mkdir(parents=True, exist_ok=True)
    runner = runners.cleaning(values, out.with_suffix(".scores.sqlite"))
    outcome = run.clean(
        records, root, out, limits, keep=values.keep, precision=values.precision, runner=runner
    )
    page = values.report or out.with_suffix(".html")
    report.write(outcome, root, page)
    kept, seen = sum(outcome.kept.values()), sum(outcome.seen.values())
    print(f"{out}: {kept:,} of {seen:,} records kept ({kept / seen:.1%}); report: {page}")
