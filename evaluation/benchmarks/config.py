"""The configuration of a suite of benchmarks: every field, its default and its check."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ml_collections

from zv_jax.errors import ConfigError, nearest
from zv_jax.evaluation import config as config_lib
from zv_jax.evaluation.benchmarks import spec
from zv_jax.evaluation.benchmarks.answering import Settings
from zv_jax.evaluation.benchmarks.data import STAND_IN


@dataclass(frozen=True)
class BenchmarkSuite:
    """Which benchmarks are run, on which files. Where a number is a limit, 0 means no limit."""

    benchmarks: tuple[str, ...] = ()
    data: str = "data"  # holds a folder for each data set, in its published layout
    stand_in: str = ""  # zv_openmoji: records of the same kind from the embedded data set
    limit: int = 0  # records of each benchmark; their numbers are named @n
    batch_size: int = 64
    max_new_tokens: int = 0  # no answer is longer, whatever the benchmark says
    permutations: int = 0  # further orders of the options of multiple choice
    rerank_k: int = 128  # candidates by ITC that ITM ranks again
    retrieval_checkpoint: str = ""  # one with heads (stage 0); empty: retrieval is left out
    sample_limit: int = 200  # of each benchmark, in the browser of samples
    seed: int = 0

    @property
    def settings(self) -> Settings:
        """The part that concerns asking."""
        return Settings(self.batch_size, self.max_new_tokens, self.permutations, self.seed)


def suite(**fields: Any) -> ml_collections.ConfigDict:
    """A ConfigDict with every field, so that any can be overridden.

    Raises:
      ConfigError: an unknown field.
    """
    plain = dataclasses.asdict(BenchmarkSuite())
    config_lib.check_names(fields, plain)
    return ml_collections.ConfigDict(plain | fields)


def is_benchmarks(given: Mapping) -> bool:
    """Whether a suite's fields are those of benchmarks."""
    return "benchmarks" in given


def validate(config: ml_collections.ConfigDict | Mapping) -> BenchmarkSuite:
    """The frozen, fully checked suite.

    Raises:
      ConfigError: an unknown field or benchmark, a wrong type or value.
    """
    checked = config_lib.checked(config, dataclasses.asdict(BenchmarkSuite()))
    for name in checked["benchmarks"]:
        spec.load(name)
    if checked["stand_in"] not in ("", STAND_IN):
        raise ConfigError(
            f"{checked['stand_in']!r} stands in for nothing"
            f"{nearest(checked['stand_in'], [STAND_IN])}",
            where="suite.stand_in",
            expected=f"nothing, or {STAND_IN}",
        )
    if not checked["benchmarks"] or checked["batch_size"] < 1:
        raise ConfigError(
            "nothing to run",
            where="suite.benchmarks, suite.batch_size",
            expected="at least one of " + ", ".join(spec.names()) + ", and a batch of at least 1",
        )
    return BenchmarkSuite(**checked)
