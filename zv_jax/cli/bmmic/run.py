"""`zv bmmic run`: every step of a recipe, one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING

from absl import flags

from zv_jax.cli.bmmic import common
from zv_jax.cli.data import runners
from zv_jax.errors import ConfigError

if TYPE_CHECKING:
    from zv_jax.bmmic.run import Asking

USAGE = """
usage: zv bmmic run --config FILE --workdir DIR
       zv bmmic run --config FILE --workdir DIR --runner=beam [--parts=64] [--workers=4]

  zv bmmic run --config configs/bmmic/quickstart.py --workdir runs/bmmic
  zv bmmic run --config configs/bmmic/translate.py:gqa --workdir runs/gqa_t --config.seed=1
  zv bmmic run --config configs/bmmic/paper.py --workdir /shared/bmmic --runner=beam \\
      --beam_options=runner=FlinkRunner,flink_master=host:8081

The same command goes on where it was: shards that are there are kept, replies come from the ledger.
On Beam (pip install -e '.[beam,bmmic]') the steps that ask are cut into --parts, each with its
ledger and its share of the budget; all workers see the workdir.
"""
AFTER_INTERRUPT = "the same command continues, and pays for no reply twice"
TAKES_CONFIG = "config"


def define(values: flags.FlagValues) -> None:
    common.define(values)
    runners.define(values)
    flags.DEFINE_integer(
        "parts", 64, "on Beam: how many parts the work is cut into", 1,
        flag_values=values,
    )  # fmt: skip


def run(values: flags.FlagValues, words: list[str]) -> None:
    config, workdir = common.setting(values)
    from zv_jax.bmmic import run as run_lib

    for path in run_lib.run(config, workdir, asking=_asking(values)):
        print(path)


def _asking(values: flags.FlagValues) -> Asking:
    """What the steps that ask go through."""
    options = runners.pipeline(values)
    if options is not None:
        from zv_jax.bmmic.on_beam import OnBeam

        return OnBeam(options, values.parts)
    if values.workers or values["parts"].present:
        raise ConfigError(
            "--workers and --parts are for Beam",
            expected="--runner=beam; on this machine server.concurrency",
            fix="add --runner=beam",
        )
    from zv_jax.bmmic.run import ask_here

    return ask_here
