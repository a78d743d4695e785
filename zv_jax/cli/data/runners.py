"""Where commands over many records do their work: on this machine or on Apache Beam."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from zv_jax.errors import ConfigError

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from zv_jax.data.cleaning.run import Runner
    from zv_jax.data.sources.prepare import Writer


def define(values: flags.FlagValues) -> None:
    """Adds --runner, --workers and --beam_options."""
    flags.DEFINE_enum(
        "runner",
        "local",
        ["local", "beam"],
        "where the work is done: this machine, or Apache Beam",
        flag_values=values,
    )
    flags.DEFINE_integer(
        "workers",
        0,
        "data prepare, or anything on Beam's DirectRunner: processes; 0: this one",
        0,
        flag_values=values,
    )
    flags.DEFINE_list(
        "beam_options",
        [],
        "for Beam's pipeline: runner=FlinkRunner,...",
        flag_values=values,
    )


def shard_writer(values: flags.FlagValues) -> Writer | None:
    """What makes the shards where it is not this machine."""
    options = pipeline(values)
    if options is None:
        return None
    from zv_jax.data.sources import on_beam

    return on_beam.shard_writer(options)


def cleaning(values: flags.FlagValues, cache: Path) -> Runner:
    """What does the first pass of a cleaning; this process keeps its scores in the file `cache`."""
    from zv_jax.data.cleaning import run, scores

    crossed, make = values.precision is not None, None
    if values.scorer:
        make = functools.partial(scores.transformers_scorer, values.scorer)
    options = pipeline(values)
    if options is None:
        scorer = scores.Cached(make(), values.scorer, cache) if make else None
        return functools.partial(run.here, scorer=scorer, crossed=crossed)
    from zv_jax.data.cleaning import on_beam

    return on_beam.Runner(options, make, crossed)


def pipeline(values: flags.FlagValues) -> PipelineOptions | None:
    """The options of Beam's pipeline; None where the work is done on this machine."""
    if not _on_beam(values):
        return None
    from zv_jax.data.sources import on_beam

    return on_beam.pipeline_options(values.beam_options, values.workers)


def _on_beam(values: flags.FlagValues) -> bool:
    if values.beam_options and values.runner != "beam":
        raise ConfigError(
            "--beam_options without Beam", expected="--runner=beam", fix="add --runner=beam"
        )
    return values.runner == "beam"
