"""The asking steps of a run on Apache Beam: many workers, the same files.

The work is cut into parts, which are those of `--part`: a part is every n-th shard, with a ledger
of its own. A worker makes of a part what `zv bmmic generate --part` and the other steps would make
of it. Beam may repeat a bundle at any time; the second try finds the shards that are there, and in
the ledger every reply that was paid for. Views, the detector (which knows of duplicates only what
came before) and the export are made here, in order.

    parts -> generate -> rewrite -> translate
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from zv_jax.bmmic import run as run_lib
from zv_jax.bmmic.config import Config
from zv_jax.bmmic.run import Say
from zv_jax.bmmic.steps.shards import Shards
from zv_jax.data.sources import on_beam

FOLDER = "beam"


@dataclasses.dataclass(frozen=True)
class OnBeam:
    """What `run.run` asks through, in place of this process.

    Attributes:
      options: of the pipeline.
      parts: how many the work is cut into; more than there are workers, so that none waits.
    """

    options: PipelineOptions
    parts: int

    def __call__(self, steps: Sequence[str], config: Config, workdir: Path, say: Say) -> None:
        """Runs `steps` over all parts; the folder of the run must be one that all workers see.

        Raises:
          ConfigError: the run was begun with other parts: their replies would be paid for again.
          DataError: the pipeline failed; the error of the worker is in the message.
        """
        workdir = workdir.resolve()
        Shards(workdir / FOLDER).begin("beam", {"parts": self.parts})
        # Whoever works on a part cannot see what the others spend: each has its share.
        share = dataclasses.replace(config.server, budget=config.server.budget / self.parts)
        one = dataclasses.replace(config, server=share)

        def build(parts: beam.PCollection) -> None:
            for step in steps:
                ask = _Ask(step, one, workdir, self.parts)
                parts = parts | step.capitalize() >> beam.Map(ask)

        on_beam.run(build, self.parts, self.options)
        say(f"{', '.join(steps)}: {self.parts:,} parts done on Beam")


@dataclasses.dataclass(frozen=True)
class _Ask:
    """One step for one part."""

    step: str
    config: Config
    workdir: Path
    parts: int

    def __call__(self, number: int) -> int:
        part = (number, self.parts)
        run_lib.ask(self.step, self.config, self.workdir, part, lambda text: None)
        return number
