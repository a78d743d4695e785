"""Scores of a model while it is trained, on the first records of a split it does not learn from.

Every process holds all records and calls the model in the same order; the rows of a batch lie on
the devices of the mesh, each computed once, and every process gets all answers. The numbers so are
the same whatever the mesh, and only one process writes them down.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

import jax
from jax.sharding import Mesh

from zv_jax.buckets import local
from zv_jax.checkpoints import manager as checkpoint
from zv_jax.config.schema import Config, SourceConfig
from zv_jax.data.pipeline import overlap
from zv_jax.data.sources.open import NoSplit, Source, open_source
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.errors import CheckpointError, ConfigError, nearest
from zv_jax.evaluation import config as config_lib
from zv_jax.evaluation import part as part_lib
from zv_jax.evaluation import task as task_lib
from zv_jax.evaluation.config import SuiteConfig
from zv_jax.evaluation.data import NoRecords, Sources
from zv_jax.evaluation.part import Outcome, Part
from zv_jax.evaluation.predict import predict
from zv_jax.evaluation.task import Task
from zv_jax.files import read_jsonl
from zv_jax.inference.model import Model
from zv_jax.json_input import finite
from zv_jax.stages import stage_model

_log = logging.getLogger(__name__)


class Evaluation:
    """Evaluates leaves in the middle of a run: ``evaluation(flat, tokenizers, mesh)``.

    Args:
      config: of the run; `config.eval` says what is evaluated.

    Raises:
      ConfigError: a task or a language is unknown, the run has no source, or what would be
        evaluated is learned.
      DataError: the source has no such split or no record of a task, or an image cannot be read.
    """

    def __init__(self, config: Config):
        wanted = config.eval
        # What the stage builds, nothing recomputed: there are no gradients.
        built = dataclasses.replace(stage_model(config), remat="none")
        self._as_run = dataclasses.replace(config, model=built)
        if not config.data.sources:
            raise ConfigError(
                "there is nothing to evaluate on",
                where="data.sources",
                expected="a source with a split that is not learned",
                fix="set --config.eval.every=0",
            )
        source = config.data.sources[0]
        suite = config_lib.validate(
            config_lib.suite(
                tasks=wanted.tasks,
                langs=wanted.langs,
                limit=wanted.limit,
                batch_size=wanted.batch_size,
                max_new_tokens=dict.fromkeys(task_lib.embedded(), wanted.max_new_tokens),
                controls=("shuffled_images",) if wanted.controls else (),
                attention_images=0,
                seed=config.seed,
                source={"name": source.name, "path": source.path, "split": wanted.split},
            )
        )
        records = _evaluated(source, wanted.split)
        overlap.refuse(config, records)
        names = suite.tasks or task_lib.taught_by(config.stage.name, "config.eval.tasks")
        tasks = [suite.task(name) for name in names]
        self._parts = _parts(suite, tasks, Sources(opened=records))
        for part in self._parts:  # a wrong image_root shows in the first
            part.data.image(part.data.records[0].images[0])

    def __call__(
        self,
        flat: Mapping[str, jax.Array],
        tokenizers: tuple[Tokenizer, Tokenizer],
        mesh: Mesh,
    ) -> dict[str, float]:
        """``{"eval/vqa/en/exact_match@64": ...}``, with controls also ``.../shuffled_images``."""
        model = Model(self._as_run, dict(flat), tokenizers, mesh, {})
        found = {}
        for part in self._parts:
            for entry, _, _ in part_lib.entries(part, self._outcome(part, model)):
                name = f"eval/{entry['task']}/{entry['lang']}/{entry['metric']}"
                found[name] = entry["value"]
                other = entry["controls"]["shuffled_images"]
                if other is not None:
                    found[f"{name}/shuffled_images"] = other
        return found

    def _outcome(self, part: Part, model: Model) -> Outcome:
        def models(untrained: bool) -> Model:
            return model  # the untrained one is no control here

        if part.task.kind == "retrieval":
            return part_lib.retrieved(part, models)[0]
        decimals = self._as_run.data.box_decimals
        asked = part_lib.askings(part, part.items(decimals), models, decimals)
        said = {name: predict(asking.predictor, asking.items) for name, asking in asked.items()}
        return part_lib.outcome(part, asked, said, list)


def _parts(suite: SuiteConfig, tasks: Sequence[Task], sources: Sources) -> list[Part]:
    """What the source has records of; errors name the fields of a training."""

    def leave_out(name: str, why: str) -> None:
        if jax.process_index() == 0:
            _log.warning("%s: %s", name, why)

    try:
        return part_lib.parts_of(suite, tasks, sources, leave_out)
    except NoRecords as error:
        fix = (error.fix or "").replace("--suite.", "--config.eval.")
        raise NoRecords(error.what, error.where, error.expected, fix) from None


def _evaluated(source: SourceConfig, split: str) -> Source:
    """The records of the evaluated split; where there is none, the fields that evaluation takes."""
    try:
        return open_source(source.name, source.path, split, source.image_root)
    except NoSplit as error:
        raise NoSplit(
            error.what,
            where=error.where,
            expected=error.expected,
            fix="evaluation takes eval.split of the first source, whose path is then a folder with "
            f"{split}.jsonl beside the file of the training split, or prepared data that hold it; "
            "or set --config.eval.every=0",
        ) from None


def best_checkpoint(workdir: str | Path, metric: str) -> str | Path:
    """The saved step at which a metric of `eval` events was highest; of equal ones the latest.
    What is no finite number is never the best.

    Args:
      workdir: of a training run. metric: such as ``eval/vqa/en/exact_match@64``.

    Raises:
      CheckpointError: no step that is still saved was evaluated by this metric.
    """
    steps = {int(path.name): path for path in checkpoint.find_steps(workdir)}
    with local(workdir) as here:
        events = read_jsonl(here / "events.jsonl")
    scored = [e for e in events if e.get("kind") == "eval" and e["step"] in steps]
    numbers = [(finite(e["scores"].get(metric)), e["step"]) for e in scored]
    found = [(value, step) for value, step in numbers if value is not None]
    if not found:
        known = sorted({name for e in events if e.get("kind") == "eval" for name in e["scores"]})
        raise CheckpointError(
            f"no saved step was evaluated by {metric!r}{nearest(metric, known)}",
            where=str(Path(workdir) / "events.jsonl"),
            expected="one of " + (", ".join(known) or "(the run was not evaluated)"),
            fix="train with --config.eval.every equal to --config.checkpoint.every",
        )
    return steps[max(found)[1]]
