"""Steps of a run that is to see its samples so many times."""

from __future__ import annotations

import math

from zv_jax.config import Config
from zv_jax.data.pipeline import pipeline


def steps(config: Config, epochs: float) -> tuple[int, int]:
    """Steps in which as many samples are drawn as `epochs` passes over all sources hold.

    Sources with weights are drawn in proportion to these, so one of several may be seen more often
    and another less; together it is `epochs` times the number of samples.

    Args:
      epochs: above 0; a fraction is a part of a pass.

    Returns:
      The steps, at least 1 and rounded up to whole batches, and the samples of one pass.

    Raises:
      ConfigError, DataError: see `pipeline.drawn_from`.
    """
    samples = sum(len(drawn.table) for drawn in pipeline.drawn_from(config))
    return max(1, math.ceil(epochs * samples / config.train.batch_size)), samples
