"""Is what is evaluated learned too? Scores on it would say nothing.

Records are compared by id, images by SHA-1 where records have it and by where they are stored.
All are compared up to `MAX_RECORDS` of training, some 25,000 a second on one core; beyond it a
sample of each source, drawn with the seed of the run.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Iterable, Iterator

import numpy as np

from zv_jax import json_input
from zv_jax.config import Config
from zv_jax.data.pipeline.batches.kind import Drawn
from zv_jax.data.pipeline.pipeline import drawn_from
from zv_jax.data.records.record import ImageRef
from zv_jax.data.sources.open import Source
from zv_jax.errors import ConfigError, DataError

MAX_RECORDS = 100_000  # of all training sources together; of the evaluated split the first ones

log = logging.getLogger(__name__)


def refuse(config: Config, tested: Source) -> None:
    """Refuses to evaluate `tested`, of `config.eval`, if the run draws any of it.

    Raises:
      ConfigError: training draws some of its records, or their images; it names how many of whose.
      DataError: a source cannot be read.
    """
    sources = drawn_from(config)
    first = range(min(len(tested), MAX_RECORDS))
    evaluated = dict(_seen(tested, first))
    ids, images = evaluated.keys(), frozenset().union(*evaluated.values())
    for drawn in sources:
        if drawn.source.fingerprint == tested.fingerprint:
            raise _overlap(config, drawn, "all records")
        shared, shown = set(), set()
        for name, of_record in _seen(drawn.source, _chosen(config, drawn, len(sources))):
            shared |= {name} & ids
            shown |= of_record & images
        if shared:
            raise _overlap(config, drawn, f"{len(shared)} records, as {min(shared)},")
        if shown:
            raise _overlap(config, drawn, f"{len(shown)} images, as {min(shown)},")


def _chosen(config: Config, drawn: Drawn, sources: int) -> list[int]:
    """Numbers of the records of a source that are compared."""
    learned = np.unique(drawn.table[:, 0]).tolist()
    most = MAX_RECORDS // sources
    if len(learned) <= most:
        return learned
    log.warning(
        "%s: %d of %d records are compared with the evaluated ones", drawn.label, most, len(learned)
    )
    return sorted(random.Random(f"{config.seed} {drawn.place}").sample(learned, most))


def _seen(source: Source, numbers: Iterable[int]) -> Iterator[tuple[str, frozenset[str]]]:
    """Id and images of records; broken ones are found when they are drawn."""
    for number in numbers:
        try:
            data = json_input.parse(source.line(number), source.where(number), strict=False)
            refs = [ImageRef(**image) for image in data["images"]]
        except (DataError, ValueError, KeyError, TypeError):
            continue
        names = {source.address(ref) for ref in refs} | {ref.sha1 for ref in refs if ref.sha1}
        yield str(data.get("id")), frozenset(names)


def _overlap(config: Config, drawn: Drawn, what: str) -> ConfigError:
    return ConfigError(
        f"{what} of split {config.eval.split!r} are learned from {drawn.label}: scores on them "
        "would say nothing",
        where="eval.split",
        expected="records and images that no source of the run draws",
        fix="set --config.eval.split to another split, take them out of the training data, or "
        "set --config.eval.every=0",
    )
