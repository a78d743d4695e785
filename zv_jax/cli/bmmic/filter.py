"""`zv bmmic filter`: the rule-based detector over a run, or measured on a labelled set."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.cli.bmmic import common

USAGE = """
usage: zv bmmic filter --config FILE --workdir DIR
       zv bmmic filter --config FILE --labelled DIR --parts=NAME,...

  zv bmmic filter --config configs/bmmic/quickstart.py --workdir runs/bmmic \\
      --config.filters.off=spatial --config.filters.length.min_question_en=2
  zv bmmic filter --config configs/bmmic/quickstart.py --labelled tests/bmmic/labelled \\
      --parts=tuned,held_out

Reads what was made, writes kept/, dropped/ (each pair with the filter and its reason) and
filters.json (counts and samples). With --labelled it judges pairs of which you know whether they
are good, and prints recall and false drops of each filter.
"""
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    common.define(values)
    flags.DEFINE_string(
        "labelled", None, "folder of a labelled set to measure on", flag_values=values
    )
    flags.DEFINE_list("parts", ["tuned"], "parts of it, each a .jsonl file", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    if values.labelled:
        from zv_jax.bmmic import config as config_lib
        from zv_jax.bmmic.filters import measure

        config = config_lib.validate(required(values, "config", common.EXAMPLE))
        scores = measure.measure(Path(values.labelled), values.parts, config.filters)
        print(measure.render(scores))
        return
    config, workdir = common.setting(values)
    from zv_jax.bmmic.steps import filter as filter_step

    report = filter_step.run(config, workdir)
    print("\n".join(filter_step.table(report)))
    print(f"{workdir / 'kept'}: {report['kept']:,} of {report['pairs']:,} pairs")
