"""The one training loop, for every stage and both variants.

Order of operations: restore or start -> for each step: stop if told to, next batch, step, log,
save if due. The position in the data is the step, and the step's randomness is folded from
(seed, step), so a run that stops anywhere continues where it was.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zv_jax.checkpoints import compatibility as resume
from zv_jax.checkpoints.manager import Checkpointer, of_run
from zv_jax.config.build import to_dict
from zv_jax.config.fields import within
from zv_jax.config.schema import Config
from zv_jax.data.pipeline import census
from zv_jax.data.pipeline.faults import SHORTENED, Fault
from zv_jax.data.pipeline.pipeline import (
    Batches,
    kinds_of,
    make_pipeline,
    pipeline_fingerprint,
)
from zv_jax.data.text.tokenizers import Tokenizer
from zv_jax.data.text.vocabulary import load_tokenizers
from zv_jax.errors import CheckpointError, ConfigError, TrainingError
from zv_jax.files import write_json
from zv_jax.models.axes import check_heads, on_mesh
from zv_jax.parallel.distributed import check_same, journal, log_to_file
from zv_jax.parallel.sharding import (
    batch_sharding,
    local_rows,
    make_mesh,
    row_ways,
    whole_leaves,
)
from zv_jax.stages import batch_spec, labelled_tokens, stage_of
from zv_jax.training.guards import carried_over
from zv_jax.training.heartbeat import heartbeat
from zv_jax.training.init_from import initialise, other_prompts, table_text
from zv_jax.training.losses.kind import loss_of
from zv_jax.training.metrics import MetricLog, peak_rss_bytes
from zv_jax.training.monitors import Watchdog
from zv_jax.training.optimizer import make_optimizer
from zv_jax.training.overview import overview, stage_table
from zv_jax.training.patrol import Patrol
from zv_jax.training.preemption import Preemption
from zv_jax.training.saving import Saver
from zv_jax.training.state import Variables, divide, fresh_variables, place
from zv_jax.training.step import State, init_state, make_step
from zv_jax.training.substitutes import Shortened, Substitutes
from zv_jax.training.throughput import Throughput

OVERVIEW = "parameters.txt"  # every leaf
RESULTS = "results.json"  # written last: its presence says that the run came to its end


Leaves = Mapping[str, jax.Array]
Evaluate = Callable[[Leaves, tuple[Tokenizer, Tokenizer], Mesh], Mapping[str, float]]


def run(
    config: Config,
    workdir: Path,
    allow_change: Sequence[str] = (),
    evaluate: Evaluate | None = None,
) -> None:
    """Train the stage of `config` in `workdir`; the same workdir resumes, a finished one returns.

    It also returns, with everything saved, when the process is told to end (SIGTERM).

    Args:
        allow_change: fields or sections that may differ from the checkpoint resumed.
        evaluate: scores of the model as it is, called every `config.eval.every` steps; the event
            `eval` keeps them.

    Raises:
        ConfigError, DataError, CheckpointError, TrainingError: each names the field, the file,
            the leaf or the samples.
    """
    workdir = Path(workdir)
    process, processes = jax.process_index(), jax.process_count()
    with ExitStack() as stack:
        stack.enter_context(log_to_file(workdir))
        check_same(to_dict(config), str(workdir))
        log = MetricLog(workdir, config.train.steps, enabled=process == 0)
        stack.callback(log.close)
        if finished_at(workdir) >= config.train.steps:
            log.say(f"{workdir}: finished at step {config.train.steps}, nothing to do")
            return
        mesh = make_mesh(config.mesh)
        check_heads(config.model, mesh)
        check_batch(config, mesh)
        watchdog = Watchdog(
            config.guards.hang_seconds,
            workdir,
            process=process,
            processes=processes,
            on_hang=lambda text: log.event("hang", what=text),
        )
        stack.enter_context(watchdog)
        checkpoints = stack.enter_context(Checkpointer(workdir, config.checkpoint))
        preemption = stack.enter_context(Preemption(checkpoints.reached_preemption))
        stack.enter_context(on_mesh(mesh))
        Run(config, workdir, mesh, checkpoints, log, allow_change, evaluate).train(
            preemption, watchdog
        )


def finished_at(workdir: Path) -> int:
    """The last step of a run that came to its end in `workdir`; -1 when none did."""
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


def check_batch(config: Config, mesh: Mesh) -> None:
    """Raises ConfigError when the batch does not divide over mesh, microbatches and groups, or its
    rows are longer than the language model has positions."""
    train, stage, ways = config.train, stage_of(config), row_ways(mesh)
    unit = ways * train.microbatches
    if train.batch_size % unit:
        raise ConfigError(
            f"a batch of {train.batch_size} rows",
            where="train.batch_size",
            expected=f"a multiple of {unit} (mesh.data x mesh.fsdp x train.microbatches)",
            fix=f"set --config.train.batch_size={-(-train.batch_size // unit) * unit}",
        )
    if train.microbatches > 1 and len(stage.losses) > 1 and not loss_of(stage).compares_rows:
        raise ConfigError(
            f"{train.microbatches} microbatches of the {config.stage.name} warm-up, whose "
            f"{len(stage.losses)} terms differ in their weights",
            where="train.microbatches",
            expected="1",
            fix="lower train.batch_size",
        )
    group, local = config.stage.itm_group, train.batch_size // ways
    if group and (train.batch_size % group or max(group, local) % min(group, local)):
        raise ConfigError(
            f"groups of {group} rows in a batch of {train.batch_size}",
            where="stage.itm_group",
            expected=f"a divisor of the batch that fits the {local} rows of a device",
            fix=f"set --config.stage.itm_group={local}, or 0 for the whole batch",
        )
    data, positions = config.data, config.model.llm.max_positions
    if "input_ids" in batch_spec(config) and data.max_length > positions:
        raise ConfigError(
            f"{data.max_length} tokens do not fit the {positions} positions of the language model",
            where="data.max_length",
            expected=f"at most {positions}, which is model.llm.max_positions",
            fix=f"set --config.data.max_length={positions}",
        )
    for length in {source.max_length or data.max_length for source in data.sources}:
        labelled = labelled_tokens(config, length)
        if labelled % train.loss_chunks:
            raise ConfigError(
                f"{train.loss_chunks} chunks of {labelled} tokens",
                where="train.loss_chunks",
                expected="a divisor of data.max_length; in stages 1 and 2 of Chat of "
                "data.max_answer, where that is less",
                fix="set --config.train.loss_chunks=1",
            )


class Run:
    """What one call of `run` holds together."""

    def __init__(
        self,
        config: Config,
        workdir: Path,
        mesh: Mesh,
        checkpoints: Checkpointer,
        log: MetricLog,
        allow_change: Sequence[str] = (),
        evaluate: Evaluate | None = None,
    ):
        self.config, self.workdir, self.mesh, self.evaluate = config, workdir, mesh, evaluate
        self.checkpoints, self.log, self.allow_change = checkpoints, log, allow_change
        self.stage = stage_of(config)
        self.tokenizers = load_tokenizers(config)
        self.fingerprint = pipeline_fingerprint(config, self.tokenizers)
        self.kinds = kinds_of(config)  # of batches, by the sources that fill them
        self.tx, self.schedule = make_optimizer(config.optimizer, config.train.steps)
        self.throughput = Throughput(config, workdir)
        self.saver = Saver(checkpoints, log, config.checkpoint.every, self._meta)
        self.last = {"step": config.train.steps}  # the newest line of the metrics
        self.scores: dict[str, float] = {}  # of the last evaluation
        self.changes: list[resume.Change] = []  # allowed when this process resumed
        self.history: list[dict] = []  # allowed since the run was started
        self.substitutes = Substitutes(workdir, jax.process_index(), jax.process_count())
        self.shortened = Shortened(workdir, jax.process_index(), jax.process_count())
        self.census: list[dict] = []

    def train(self, preemption: Preemption, watchdog: Watchdog) -> None:
        """From the latest checkpoint, or from the start, to the last step."""
        config, log = self.config, self.log
        self._count()
        resumes = self.checkpoints.latest_step() is not None
        variables, state = self._resume() if resumes else self._start()
        step_fn = make_step(config, self.stage, self.tx, self.schedule, self.mesh, state)
        first = int(state["step"])
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
        log.say(self.throughput.formula())
        for path, size in whole_leaves(variables.trainable | variables.frozen).items():
            log.say(f"warning: whole on every device: {path} ({size / 2**20:.0f} MiB)")
        self.throughput.start(first)
        batches = self._batches(first)
        kinds = [", ".join(batches.labels[number] for number in kind) for kind in self.kinds]
        patrol = Patrol(self.workdir, log, config.guards.max_skipped, kinds)
        metrics: dict[str, jax.Array] = {}
        compiled: set[tuple] = set()  # shapes that a program exists for
        try:
            for step in range(first, config.train.steps):
                if preemption.reached(step):
                    if step > first:
                        self._save_last(step, state, variables, metrics)
                    log.event("preemption")
                    log.say(f"told to end; step {step} is saved, the same command continues")
                    return
                # The step before still runs: making and sending this batch hides behind it.
                with self.throughput.waiting():
                    rows = next(batches)
                self.throughput.add(rows)
                kind = self._kind(batches.source(rows["index"]))
                batch = self._to_devices(rows, kind)
                shape = tuple(value.shape for value in rows.values())
                known = shape in compiled
                compiled.add(shape)
                with nullcontext() if known else heartbeat("compiling the step", log.say):
                    state, metrics = step_fn(state, variables.frozen, batch)
                patrol.step(step, metrics, kind, partial(batches.names, rows["index"]))
                log.advance(config.train.batch_size)
                watchdog.beat(step + 1)
                if (step + 1) % config.train.log_every == 0 or step + 1 == config.train.steps:
                    self._log(step + 1, metrics)
                self._evaluate(step + 1, state, variables)
                watchdog.beat(step + 1)  # an evaluation may have taken long
                if step + 1 < config.train.steps:
                    self._save(step + 1, state, variables, metrics)
            patrol.finish()
        finally:
            batches.close()
        self._save_last(config.train.steps, state, variables, metrics)
        self._finish(step_fn._cache_size())

    def _count(self) -> None:
        """Says what the run draws of its data and what it leaves out."""
        found = census.take(self.config, self.tokenizers)
        self.census = [source.as_row() for source in found]
        for line in census.lines(found):
            self.log.say(line)
        for line in census.warnings(found):
            self.log.say(f"WARNING: {line}")

    def _start(self) -> tuple[Variables, State]:
        config = self.config
        fresh, shardings = fresh_variables(config, self.stage, self.mesh)
        flat, table = fresh, None
        if config.init_from:
            flat, table = initialise(
                fresh, config.init_from, [t.fingerprint for t in self.tokenizers]
            )
            flat = place(flat, shardings)
            self.log.say("\n".join([table_text(table), *other_prompts(table, config)]))
        variables = divide(flat, self.stage, config)
        self.provenance = table
        self._describe(flat, set(variables.trainable))
        return variables, self._first_state(variables)

    def _resume(self) -> tuple[Variables, State]:
        meta = of_run(self.checkpoints.meta(), self.workdir)
        self.changes = resume.check(
            meta,
            resume.fields_of(to_dict(self.config), self.fingerprint),
            self.allow_change,
            str(self.workdir),
        )
        flat = fresh_variables(self.config, self.stage, self.mesh)[0]
        variables = divide(flat, self.stage, self.config)
        like = self._first_state(variables)
        state = self.checkpoints.restore(like)
        same_data = not any(within(change.field, "data") for change in self.changes)
        state["guards"] = carried_over(state["guards"], like["guards"], same_data)
        step = int(state["step"])
        frozen = self.checkpoints.restore_frozen(variables.frozen, step)
        self.provenance = meta.get("provenance")
        self.history = meta.get("changes", []) + [
            {"step": step, **c._asdict()} for c in self.changes
        ]
        self.log.say(f"resumed {self.workdir} at step {step}")
        for change in self.changes:
            self.log.say(f"  allowed: {change}")
        if self.changes and jax.process_index() == 0:
            write_json(self.workdir / "config.json", to_dict(self.config))
        return Variables(state["trainable"], frozen), state

    def _first_state(self, variables: Variables) -> State:
        return init_state(variables.trainable, self.tx, self.config.guards, len(self.kinds))

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

    def _replaced(self, step: int, fault: Fault) -> None:
        self.log.event("substitute", at=step, **self.substitutes.add(step, fault))

    def _describe(self, flat: dict, trainable: set[str]) -> None:
        """Write what a person or the report wants to know beside the checkpoints."""
        if jax.process_index():
            return
        own, other = self.tokenizers
        own.save(self.workdir / "tokenizer")
        other.save(self.workdir / "qformer_tokenizer")
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

    def _evaluate(self, step: int, state: State, variables: Variables) -> None:
        every = self.config.eval.every
        if self.evaluate is not None and every > 0 and step % every == 0:
            leaves = {**variables.frozen, **state["trainable"]}
            self.scores = dict(self.evaluate(leaves, self.tokenizers, self.mesh))
            self.log.event("eval", scores=self.scores)

    def _log(self, step: int, metrics: dict[str, jax.Array]) -> None:
        values = shown(metrics)  # waits for the step
        self.shortened.flush()
        row = self.last = self.log.log({**values, **self.throughput.fields(step)})
        journal.info("step %d: loss %.6g, %.3f s", step, row["loss"], row["step_seconds"])

    def _save(self, step: int, state: State, variables: Variables, metrics: dict) -> None:
        if self.saver.is_due(step):
            check_finite(step, state["trainable"])
            self.shortened.flush()
        self.saver.step(step, state, variables.frozen, lambda: {**shown(metrics), **self.scores})

    def _save_last(self, step: int, state: State, variables: Variables, metrics: dict) -> None:
        check_finite(step, state["trainable"])
        self.shortened.flush()
        self.saver.last(step, state, variables.frozen, lambda: {**shown(metrics), **self.scores})

    def _finish(self, compilations: int) -> None:
        peak = peak_rss_bytes()
        self.log.event("finish", peak_rss_bytes=peak, compilations=compilations)
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
            **self.last,
            "peak_rss_bytes": peak,
            "census": self.census,
            "substitutes": replaced,
            "shortened": shortened,
        }
        write_json(self.workdir / RESULTS, results)

    def _to_devices(self, batch: dict[str, np.ndarray], kind: int) -> dict[str, jax.Array]:
        loss_of(self.stage).check(batch, self.config)
        rows, whole = batch_sharding(self.mesh), NamedSharding(self.mesh, PartitionSpec())
        given = {name: value for name, value in batch.items() if name != "index"}
        given["kind"] = np.int32(kind)
        return {
            name: jax.make_array_from_process_local_data(rows, value)
            if value.ndim
            else jax.device_put(value, whole)
            for name, value in given.items()
        }


def shown(metrics: Mapping[str, jax.Array]) -> dict[str, float]:
    """The metrics that a log line holds; those of single towers are for post-mortems."""
    kept = {k: v for k, v in metrics.items() if "/" not in k and k != "verdict"}
    return {name: float(value) for name, value in jax.device_get(kept).items()}


def check_finite(step: int, leaves: Mapping[str, jax.Array]) -> None:
    """Raises TrainingError, naming a leaf, when a checkpoint would hold what is not a number."""
    for name, leaf in leaves.items():
        if not bool(jax.numpy.isfinite(leaf).all()):
            raise TrainingError(
                f"the parameters are no longer finite numbers: {name}",
                where=f"step {step}",
                expected="finite values; this step is not saved",
                fix="lower optimizer.lr, and continue from the step before",
            )
