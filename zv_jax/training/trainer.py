"""The training loop of every stage and both variants.

Order of operations: restore or start -> for each step: stop on preemption, next batch, step, then
the peers in the order of the list in `Run.train`. The position in the data is the step, and random
keys are folded from (seed, step), so a run that stops anywhere continues exactly there.
"""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zv_jax import buckets
from zv_jax.checkpoints import compatibility as resume
from zv_jax.checkpoints import contents
from zv_jax.checkpoints.manager import Checkpointer, of_run
from zv_jax.checkpoints.reader import FOLDER
from zv_jax.config.build import to_dict
from zv_jax.config.fields import within
from zv_jax.config.schema import Config
from zv_jax.data.pipeline import census
from zv_jax.data.pipeline.bad_samples import SHORTENED, BadSample
from zv_jax.data.pipeline.pipeline import (
    Batches,
    kinds_of,
    make_pipeline,
    pipeline_fingerprint,
)
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.data.text.vocabulary import load_tokenizers
from zv_jax.errors import CheckpointError
from zv_jax.files import write_json
from zv_jax.models.axes import check_heads, on_mesh
from zv_jax.parallel import runtime
from zv_jax.parallel.distributed import check_same, log_to_file, process_log
from zv_jax.parallel.sharding import batch_sharding, local_rows, make_mesh, replicated_leaves
from zv_jax.stages import stage_of
from zv_jax.training.carried import carried
from zv_jax.training.checks import check_batch, check_finite
from zv_jax.training.guards import carried_over, init_guards
from zv_jax.training.init_from import initialise, other_prompts, table_text
from zv_jax.training.losses.kind import loss_of
from zv_jax.training.metrics import MetricLog, peak_rss_bytes
from zv_jax.training.monitors import Preemption, SkippedUpdates, Watchdog, heartbeat
from zv_jax.training.optimizer import make_optimizer
from zv_jax.training.overview import overview, stage_table
from zv_jax.training.peers import Peer, StepInfo
from zv_jax.training.state import (
    FlatParams,
    Variables,
    abstract_leaves,
    abstract_parts,
    fresh_variables,
    partition,
    shard,
)
from zv_jax.training.step import TrainState, abstract_state, init_state, make_step
from zv_jax.training.substitutes import Shortened, Substitutes
from zv_jax.training.throughput import Throughput

OVERVIEW = "parameters.txt"  # every leaf
RESULTS = "results.json"  # written last: its presence means that the run is finished
ATTEMPTS = 8  # failed saves in a row after which a run stops


Leaves = Mapping[str, jax.Array]
Evaluate = Callable[[Leaves, tuple[Tokenizer, Tokenizer], Mesh], Mapping[str, float]]


def run(
    config: Config,
    workdir: str | Path,
    allow_change: Sequence[str] = (),
    evaluate: Evaluate | None = None,
) -> int:
    """Trains the stage of `config` in `workdir`; resumes an existing run, skips a finished one.

    On SIGTERM, and on the first Ctrl-C, it saves everything and returns.

    Args:
        allow_change: fields or sections that may differ from the checkpoint.
        evaluate: scores the current model, every `config.eval.every` steps; the event `eval` logs
            the scores.

    Returns:
        The last step; -1 where it ended before it.

    Raises:
        ConfigError, DataError, CheckpointError, TrainingError: each names the field, the file,
            the leaf or the samples.
        SetupError: the package for a bucket is missing.
    """
    if not buckets.is_bucket(workdir):
        return _run(config, Path(workdir), str(workdir), allow_change, evaluate)
    url = str(workdir).rstrip("/")
    folder = config.checkpoint.folder or f"{url}/{FOLDER}"
    checkpoint = dataclasses.replace(config.checkpoint, folder=folder)
    config = dataclasses.replace(config, checkpoint=checkpoint)
    with buckets.copied(url) as copy:
        return _run(config, copy.folder, url, allow_change, evaluate, copy)


def _run(
    config: Config,
    workdir: Path,
    place: str,
    allow_change: Sequence[str],
    evaluate: Evaluate | None,
    copy: buckets.Copy | None = None,
) -> int:
    """What `run` does in a folder of this machine: `place` itself, or the `copy` of that bucket."""
    process, processes = jax.process_index(), jax.process_count()
    with ExitStack() as stack:
        stack.enter_context(log_to_file(workdir))
        check_same(to_dict(config), place)
        log = MetricLog(workdir, config.train.steps, enabled=process == 0)
        stack.callback(log.close)
        if finished_at(workdir) >= config.train.steps:
            log.say(f"{place}: finished at step {config.train.steps}, nothing to do")
            return config.train.steps
        mesh = make_mesh(config.mesh)
        check_heads(config.model, mesh)
        check_batch(config, mesh)
        # Before anything starts a thread: what is wrong here is wrong in the recipe.
        tokenizers = load_tokenizers(config)
        watchdog = Watchdog(
            config.guards.hang_seconds,
            workdir,
            process=process,
            processes=processes,
            on_hang=lambda text: _hangs(text, log, copy),
        )
        stack.enter_context(watchdog)
        checkpoints = stack.enter_context(Checkpointer(workdir, config.checkpoint))
        preemption = stack.enter_context(Preemption(checkpoints.reached_preemption))
        stack.enter_context(on_mesh(mesh))
        trained = Run(
            config, workdir, mesh, tokenizers, checkpoints, log, allow_change, evaluate, place, copy
        )
        trained.train(preemption, watchdog)
        return finished_at(workdir)


def _hangs(text: str, log: MetricLog, copy: buckets.Copy | None) -> None:
    log.event("hang", what=text)
    if copy is not None:  # the process ends next, and with it the copy
        copy.push_within(20.0)


def finished_at(workdir: Path) -> int:
    """The last step of a finished run in `workdir`; -1 if it is not finished."""
    try:
        return int(json.loads((workdir / RESULTS).read_text(encoding="utf-8"))["step"])
    except FileNotFoundError:
        return -1
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"the results of the run cannot be read: {error}",
            where=str(workdir / RESULTS),
            expected="the JSON that a finished training writes",
            fix="remove the file; the run then continues from its last checkpoint",
        ) from error


def shown(metrics: Mapping[str, jax.Array]) -> dict[str, float]:
    """The metrics of a log line; those of single towers are for post-mortems only."""
    kept = {k: v for k, v in metrics.items() if "/" not in k and k != "update_status"}
    return {name: float(value) for name, value in jax.device_get(kept).items()}


class LogLines(Peer):
    """A line of metrics every `train.log_every` steps, and progress in between.

    Attributes:
        last: the latest line.
    """

    def __init__(
        self, config: Config, log: MetricLog, throughput: Throughput, shortened: Shortened
    ):
        self._config, self._log = config.train, log
        self._throughput, self._shortened = throughput, shortened
        self.last: dict[str, Any] = {"step": config.train.steps}

    def on_step(self, info: StepInfo) -> None:
        self._log.advance(self._config.batch_size)
        if info.step % self._config.log_every and info.step != self._config.steps:
            return
        values = shown(info.metrics)  # waits for the step
        self._shortened.flush()
        row = self.last = self._log.log({**values, **self._throughput.fields(info.step)})
        process_log.info("step %d: loss %.6g, %.3f s", info.step, row["loss"], row["step_seconds"])


class Evaluations(Peer):
    """Scores the current model every `every` steps.

    An evaluation that fails is an event and a message, and training goes on, unless
    `eval.on_error` is "stop". A run of several processes ends: they could not agree to go on.

    Attributes:
        scores: the latest ones.
        before_saving: whether the save of a step needs its scores, since they decide which steps
            are kept; otherwise a step that is due is saved first.
    """

    def __init__(
        self, config: Config, log: MetricLog, evaluate: Callable[[FlatParams], Mapping[str, float]]
    ):
        self._every, self._stops = config.eval.every, config.eval.on_error == "stop"
        self._steps, self._log, self._evaluate = config.train.steps, log, evaluate
        self.before_saving = config.checkpoint.best > 0 and config.checkpoint.metric.startswith(
            "eval/"
        )
        self.scores: dict[str, float] = {}

    def on_step(self, info: StepInfo) -> None:
        if self.before_saving or info.step < self._steps:
            self.score(info.step, info.state.trainable, info.frozen)

    def score(self, step: int, trainable: FlatParams, frozen: FlatParams) -> None:
        """Scores the model after `step` steps if that is due."""
        if self._every <= 0 or step % self._every:
            return
        self.scores = {}
        try:
            self.scores = dict(self._evaluate({**frozen, **trainable}))
        except Exception as error:
            self._log.event("eval_failed", error=str(error))
            if self._stops or jax.process_count() > 1:
                raise
            process_log.exception("the evaluation of step %d failed", step)
            self._log.say(
                f"the evaluation of step {step} failed, training goes on "
                f"(--config.eval.on_error=stop would end it): {error}"
            )
            return
        self._log.event("eval", scores=self.scores)
        shown = ", ".join(
            f"{name.removeprefix('eval/')} {value:.4g}" for name, value in self.scores.items()
        )
        self._log.say(f"evaluation of step {step}: {shown}")


class CheckpointSchedule(Peer):
    """Saves a run on schedule and logs each completed save as an event.

    A full disk or a storage outage does not stop training: the next attempt follows after 1, 2,
    4, ... steps, and the last good checkpoint remains. A run of several processes stops instead,
    since they could not agree on the next attempt.
    """

    def __init__(
        self,
        checkpoints: Checkpointer,
        log: MetricLog,
        every: int,
        steps: int,
        describe: Callable[[], Mapping[str, Any]],
        carried: Mapping[str, np.ndarray],
        scores: Callable[[], Mapping[str, float]] = dict,
        before: Callable[[], None] = lambda: None,
    ):
        """For a run of `steps` steps; `last` saves the last one.

        Args:
            describe: returns the current meta.
            carried: leaves that are saved with the frozen ones, and are in no step.
            scores: returns those of the latest evaluation, saved with the metrics of the step.
            before: called before each save.
        """
        self._checkpoints, self._log, self._every = checkpoints, log, every
        self._steps, self._describe, self._scores, self._before = steps, describe, scores, before
        self._carried = carried
        self._failures = 0
        self._again = 0  # the step of the next attempt after a failure

    def on_step(self, info: StepInfo) -> None:
        if info.step >= self._steps:
            return
        due = info.step == self._again or self._checkpoints.is_due(info.step)
        if due:
            check_finite(info.step, info.state.trainable)
            self._before()
        try:
            self._collect(wait=due)
            if due:
                self._save(info.step, info.state, info.frozen, info.metrics)
        except CheckpointError as error:
            self._failed(info.step, error)

    def last(
        self,
        step: int,
        state: TrainState,
        frozen: FlatParams,
        metrics: Mapping[str, jax.Array],
        *,
        pause: float = 2.0,
    ) -> None:
        """Saves `step` and waits for it; between attempts it sleeps for `pause` seconds, doubled
        each time.

        Raises:
            CheckpointError: it cannot be written.
        """
        check_finite(step, state.trainable)
        self._before()
        while True:
            try:
                self._collect(wait=True)
                self._save(step, state, frozen, metrics)
                self._collect(wait=True)
                return
            except CheckpointError as error:
                self._failed(step, error)
                time.sleep(pause)
                pause *= 2

    def _save(
        self, step: int, state: TrainState, frozen: FlatParams, metrics: Mapping[str, jax.Array]
    ) -> None:
        values = {**shown(metrics), **self._scores()}
        held = {**frozen, **self._carried}
        self._checkpoints.save(step, state, held, self._describe(), metrics=values, force=True)

    def _collect(self, wait: bool = False) -> None:
        done = self._checkpoints.finished(wait)
        if done is not None:
            self._failures = self._again = 0
            self._log.event("save", checkpoint=done)

    def _failed(self, step: int, error: CheckpointError) -> None:
        self._failures += 1
        self._log.event("save_failed", attempt=self._failures, error=error.what)
        if self._failures >= ATTEMPTS or jax.process_count() > 1:
            raise error
        self._again = step + min(2 ** (self._failures - 1), self._every)
        self._log.say(
            f"{error}\n  attempt {self._failures} of {ATTEMPTS}, at step {step}; the last good "
            f"checkpoint is of step {self._checkpoints.latest_step()}"
        )


class Run:
    """The state of one call of `run`."""

    def __init__(
        self,
        config: Config,
        workdir: Path,
        mesh: Mesh,
        tokenizers: tuple[Tokenizer, Tokenizer],
        checkpoints: Checkpointer,
        log: MetricLog,
        allow_change: Sequence[str] = (),
        evaluate: Evaluate | None = None,
        place: str = "",
        copy: buckets.Copy | None = None,
    ):
        self.config, self.workdir, self.mesh, self.evaluate = config, workdir, mesh, evaluate
        self.place, self.copy = place or str(workdir), copy
        self.checkpoints, self.log, self.allow_change = checkpoints, log, allow_change
        self.stage = stage_of(config)
        self.tokenizers = tokenizers
        self.fingerprint = pipeline_fingerprint(config, self.tokenizers)
        self.kinds = kinds_of(config)  # of batches: the sources that fill each
        self.tx, self.schedule = make_optimizer(config.optimizer, config.train.steps)
        self.provenance: dict[str, Any] | None = None  # of the initial parameters
        self.carried: Mapping[str, np.ndarray] = {}  # saved beside the model, in no step
        self.changes: list[resume.ConfigDiff] = []  # allowed at this resume
        self.history: list[dict] = []  # allowed at all resumes of the run
        self.substitutes = Substitutes(workdir, jax.process_index(), jax.process_count())
        self.shortened = Shortened(workdir, jax.process_index(), jax.process_count())
        self.census: list[dict] = []
        self.compiled: set[tuple] = set()  # shapes of batches with a compiled program

    def train(self, preemption: Preemption, watchdog: Watchdog) -> None:
        """Trains from the latest checkpoint, or from the start, to the last step."""
        config, log = self.config, self.log
        self._count()
        resumes = self.checkpoints.latest_step() is not None
        variables, state = self._resume() if resumes else self._start()
        first = int(state.step)
        log.start(first)
        self.substitutes.start(first)
        self.shortened.start(first)
        if jax.process_index() == 0:
            write_json(self.workdir / "census.json", self.census)
        log.event(
            "restore" if resumes else "start",
            devices=jax.device_count(),
            processes=jax.process_count(),
            changes=[str(change) for change in self.changes],
        )
        throughput = Throughput(config, self.workdir)
        log.say(throughput.formula())
        for path, size in replicated_leaves(variables.trainable | variables.frozen).items():
            log.say(f"warning: replicated on every device: {path} ({size / 2**20:.0f} MiB)")
        throughput.start(first)
        batches = self._batches(first)
        lines = LogLines(config, log, throughput, self.shortened)
        evaluations = Evaluations(config, log, self._scores)
        schedule = CheckpointSchedule(
            self.checkpoints,
            log,
            config.checkpoint.every,
            config.train.steps,
            describe=self._meta,
            carried=self.carried,
            scores=lambda: evaluations.scores if evaluations.before_saving else {},
            before=self.shortened.flush,
        )
        peers: list[Peer] = [
            self._skipped_updates(batches),
            watchdog,
            throughput,
            lines,
            *((evaluations, schedule) if evaluations.before_saving else (schedule, evaluations)),
            watchdog,  # again: an evaluation may take long
        ]
        metrics: Mapping[str, jax.Array] = {}
        steps = self._steps(state, variables.frozen, batches, first, watchdog.begin)
        try:
            for step in range(first, config.train.steps):
                if preemption.reached(step):
                    if step > first:
                        schedule.last(step, state, variables.frozen, metrics)
                    log.event("preemption")
                    log.say(
                        f"told to end; step {step} is saved, the same command continues"
                        if step > first or resumes
                        else "told to end before the first step; the same command begins anew"
                    )
                    return
                info = next(steps)
                state, metrics = info.state, info.metrics
                for peer in peers:
                    peer.on_step(info)
            for peer in peers:
                peer.on_end()
        finally:
            batches.close()
        schedule.last(config.train.steps, state, variables.frozen, metrics)
        if not evaluations.before_saving:
            evaluations.score(config.train.steps, state.trainable, variables.frozen)
        self._finish(lines.last)

    def _steps(
        self,
        state: TrainState,
        frozen: FlatParams,
        batches: Batches,
        first: int,
        begin: Callable[[int], None],
    ) -> Iterator[StepInfo]:
        """Runs one step per iteration; calls `begin` with its number before it runs."""
        step_fn = make_step(self.config, self.stage, self.tx, self.schedule, self.mesh, state)
        for step in range(first, self.config.train.steps):
            # The previous step is still running, which hides the time to make and send this batch.
            began = time.monotonic()
            rows = next(batches)
            waited = time.monotonic() - began
            kind = self._kind(batches.source(rows["index"]))
            batch = self._to_devices(rows, kind)
            shape = tuple(value.shape for value in rows.values())
            known = shape in self.compiled
            self.compiled.add(shape)
            begin(step + 1)
            with nullcontext() if known else heartbeat("compiling the step", self.log.say):
                state, metrics = step_fn(state, frozen, batch)
            if not known:
                runtime.give_back_memory()
            names = partial(batches.names, rows["index"])
            yield StepInfo(step + 1, state, frozen, metrics, rows, names, kind, waited)

    def _skipped_updates(self, batches: Batches) -> SkippedUpdates:
        kinds = [", ".join(batches.labels[number] for number in kind) for kind in self.kinds]
        return SkippedUpdates(self.workdir, self.log, self.config.guards.max_skipped, kinds)

    def _scores(self, leaves: FlatParams) -> Mapping[str, float]:
        assert self.evaluate is not None
        return self.evaluate(leaves, self.tokenizers, self.mesh)

    def _count(self) -> None:
        """Logs which data the run draws and which it skips."""
        found = census.take(self.config, self.tokenizers)
        self.census = [source.as_row() for source in found]
        for line in census.lines(found):
            self.log.say(line)
        for line in census.warnings(found):
            self.log.say(f"WARNING: {line}")

    def _start(self) -> tuple[Variables, TrainState]:
        """Step 0; leaves that `init_from` provides are not initialised first."""
        config, stage, mesh = self.config, self.stage, self.mesh
        if config.init_from:
            wanted = abstract_leaves(config, stage, mesh)
            words = [t.fingerprint for t in self.tokenizers]
            kept = carried(config, words)
            self.carried = kept.leaves
            flat, self.provenance = initialise(
                wanted,
                config.init_from,
                words,
                make=lambda names: fresh_variables(config, stage, mesh, only=names)[0],
                carried=kept.leaves.keys(),
            )
            self.provenance["carried_from"] = kept.source
            flat = shard(flat, {path: leaf.sharding for path, leaf in wanted.items()})
            lines = [table_text(self.provenance), *other_prompts(self.provenance, config)]
            lines += kept.lines
            self.log.say("\n".join(lines))
        else:
            flat, _ = fresh_variables(config, stage, mesh)
        variables = partition(flat, stage, config)
        self._describe(flat, set(variables.trainable))
        kinds = len(self.kinds)
        return variables, init_state(variables.trainable, self.tx, config.guards, kinds)

    def _resume(self) -> tuple[Variables, TrainState]:
        """The latest checkpoint, read into its shards without initialising any leaf first."""
        meta = of_run(self.checkpoints.meta(), self.place)
        self.changes = resume.check(
            meta,
            resume.fields_of(to_dict(self.config), self.fingerprint),
            self.allow_change,
            self.place,
        )
        guards, kinds = self.config.guards, len(self.kinds)
        parts = abstract_parts(self.config, self.stage, self.mesh)
        like = abstract_state(parts.trainable, self.tx, self.mesh, guards, kinds)
        state = self.checkpoints.restore(like)
        same_data = not any(within(change.field, "data") for change in self.changes)
        state = dataclasses.replace(
            state, guards=carried_over(state.guards, init_guards(guards, kinds), same_data)
        )
        step = int(state.step)
        held = self.checkpoints.restore_frozen(parts.frozen, step, contents.beside(self.config))
        frozen = {path: held[path] for path in parts.frozen}
        self.carried = {path: leaf for path, leaf in held.items() if path not in frozen}
        self.provenance = meta.get("provenance")
        self.history = meta.get("changes", []) + [
            {"step": step, **c._asdict()} for c in self.changes
        ]
        self.log.say(f"resumed {self.place} at step {step}")
        for change in self.changes:
            self.log.say(f"  allowed: {change}")
        if self.changes and jax.process_index() == 0:
            write_json(self.workdir / "config.json", to_dict(self.config))
        return Variables(state.trainable, frozen), state

    def _kind(self, source: int) -> int:
        return next(kind for kind, sources in enumerate(self.kinds) if source in sources)

    def _batches(self, first: int) -> Batches:
        return make_pipeline(
            self.config,
            rows=local_rows(self.mesh, self.config.train.batch_size),
            start_step=first,
            tokenizers=self.tokenizers,
            report=self._replaced,
            shorten=self.shortened.add,
        )

    def _replaced(self, step: int, fault: BadSample) -> None:
        self.log.event("substitute", at=step, **self.substitutes.add(step, fault))

    def _describe(self, flat: dict, trainable: set[str]) -> None:
        """Writes descriptions for people and the report beside the checkpoints."""
        if jax.process_index():
            return
        tokenizer, qformer_tokenizer = self.tokenizers
        tokenizer.save(self.workdir / "tokenizer")
        qformer_tokenizer.save(self.workdir / "qformer_tokenizer")
        write_json(self.workdir / "config.json", to_dict(self.config))
        write_json(self.workdir / "stage_table.json", stage_table(flat, trainable))
        (self.workdir / OVERVIEW).write_text(overview(flat, trainable) + "\n", encoding="utf-8")
        if self.provenance:
            write_json(self.workdir / "provenance.json", self.provenance)

    def _meta(self) -> dict:
        return {
            "config": to_dict(self.config),
            "fingerprint": self.fingerprint,
            "tokenizers": [t.fingerprint for t in self.tokenizers],
            "provenance": self.provenance,
            "changes": self.history,
        }

    def _finish(self, last: Mapping[str, Any]) -> None:
        """Writes the results; `last` is the latest line of metrics."""
        peak = peak_rss_bytes()
        self.log.event("finish", peak_rss_bytes=peak, compilations=len(self.compiled))
        self._meet()
        if jax.process_index():
            return
        replaced = self.substitutes.counts()
        for source, count in replaced.items():
            self.log.say(f"{count} samples of {source} were replaced; see substitutes*.jsonl")
        shortened = self.shortened.counts()
        for source, counts in shortened.items():
            kinds = ", ".join(f"{counts.get(kind, 0)} {SHORTENED[kind]}" for kind in SHORTENED)
            self.log.say(f"{source}: {kinds}")
        results = {
            **last,
            "peak_rss_bytes": peak,
            "census": self.census,
            "substitutes": replaced,
            "shortened": shortened,
        }
        write_json(self.workdir / RESULTS, results)

    def _meet(self) -> None:
        """Brings the lists of all processes to each, where they are on different machines."""
        if self.copy is not None and jax.process_count() > 1:
            self.copy.push()
            multihost_utils.sync_global_devices("the lists of all processes are in the bucket")
            self.copy.pull()

    def _to_devices(self, batch: dict[str, np.ndarray], kind: int) -> dict[str, jax.Array]:
        loss_of(self.stage).check(batch, self.config)
        rows, whole = batch_sharding(self.mesh), NamedSharding(self.mesh, PartitionSpec())
        given = {name: value for name, value in batch.items() if name != "index"}
        given["kind"] = np.asarray(kind, np.int32)
        # Not `device_put`: it compares replicated arrays between processes, and so waits for all of
        # them before every step.
        return {
            name: jax.make_array_from_process_local_data(rows if value.ndim else whole, value)
            for name, value in given.items()
        }
