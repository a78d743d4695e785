"""The one training loop, for every stage and both variants.

Order of operations: restore or start -> for each step: save if due, next batch, step, log. The
position in the data is the step, and the step's randomness is folded from (seed, step), so a run
that stops anywhere continues where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from zv_jax.config import Config, to_dict
from zv_jax.data.pipeline import make_pipeline, pipeline_fingerprint
from zv_jax.data.tokenizers import Tokenizer
from zv_jax.data.vocabulary import load_tokenizers
from zv_jax.errors import CheckpointError, ConfigError, DataError
from zv_jax.sharding import batch_sharding, check_heads, make_mesh, on_mesh, row_ways
from zv_jax.training import resume
from zv_jax.training.checkpoint import Checkpointer
from zv_jax.training.init_from import initialise, table_text
from zv_jax.training.metrics import MetricLog, peak_rss_bytes
from zv_jax.training.optimizer import make_optimizer
from zv_jax.training.stages import stage_of, stage_table
from zv_jax.training.state import Variables, divide, fresh_variables, place
from zv_jax.training.step import State, init_state, make_step

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

    Args:
        allow_change: fields or sections that may differ from the checkpoint resumed.
        evaluate: scores of the model as it is, called every `config.eval.every` steps; the event
            `eval` keeps them.

    Raises:
        ConfigError, DataError, CheckpointError: each names the field, the file or the leaf.
    """
    workdir = Path(workdir)
    log = MetricLog(workdir, config.train.steps, enabled=jax.process_index() == 0)
    if finished_at(workdir) >= config.train.steps:
        log.say(f"{workdir}: finished at step {config.train.steps}, nothing to do")
        return
    mesh = make_mesh(config.mesh)
    check_heads(config.model, mesh)
    check_batch(config, mesh)
    with Checkpointer(workdir, config.checkpoint) as checkpoints, on_mesh(mesh):
        try:
            Run(config, workdir, mesh, checkpoints, log, allow_change, evaluate).train()
        finally:
            log.close()


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
    """Raises ConfigError when the batch does not divide over mesh, microbatches and groups."""
    train, ways = config.train, row_ways(mesh)
    unit = ways * train.microbatches
    if train.batch_size % unit:
        raise ConfigError(
            f"a batch of {train.batch_size} rows",
            where="train.batch_size",
            expected=f"a multiple of {unit} (mesh.data x mesh.fsdp x train.microbatches)",
            fix=f"set --config.train.batch_size={-(-train.batch_size // unit) * unit}",
        )
    group, local = config.stage.itm_group, train.batch_size // ways
    if group and (train.batch_size % group or max(group, local) % min(group, local)):
        raise ConfigError(
            f"groups of {group} rows in a batch of {train.batch_size}",
            where="stage.itm_group",
            expected=f"a divisor of the batch that fits the {local} rows of a device",
            fix=f"set --config.stage.itm_group={local}, or 0 for the whole batch",
        )
    field = "max_length" if config.stage.name == "language" else "max_answer"
    if getattr(config.data, field) % train.loss_chunks:
        raise ConfigError(
            f"{train.loss_chunks} chunks of {getattr(config.data, field)} tokens",
            where="train.loss_chunks",
            expected=f"a divisor of data.{field}",
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
        self.tx, self.schedule = make_optimizer(config.optimizer, config.train.steps)
        self.last = {"step": config.train.steps}  # the newest line of the metrics
        self.changes: list[resume.Change] = []  # allowed when this process resumed
        self.history: list[dict] = []  # allowed since the run was started

    def train(self) -> None:
        """From the latest checkpoint, or from the start, to the last step."""
        config, log = self.config, self.log
        resumes = self.checkpoints.latest_step() is not None
        variables, state = self._resume() if resumes else self._start()
        step_fn = make_step(config, self.stage, self.tx, self.schedule, self.mesh, state)
        first = int(state["step"])
        log.start(first)
        log.event(
            "restore" if resumes else "start",
            devices=jax.device_count(),
            changes=[str(change) for change in self.changes],
        )
        batches = make_pipeline(
            config,
            process_index=jax.process_index(),
            process_count=jax.process_count(),
            start_step=first,
            tokenizers=self.tokenizers,
        )
        try:
            for step in range(first, config.train.steps):
                batch = self._to_devices(next(batches))
                state, metrics = step_fn(state, variables.frozen, batch)
                log.advance(config.train.batch_size)
                if (step + 1) % config.train.log_every == 0 or step + 1 == config.train.steps:
                    self._log(step + 1, metrics)
                self._evaluate(step + 1, state, variables)
                if step + 1 < config.train.steps:
                    self._save(step + 1, state, variables)
        finally:
            batches.close()
        self._save(config.train.steps, state, variables, force=True)
        self.checkpoints.wait()
        log.event("finish", peak_rss_bytes=peak_rss_bytes(), compilations=step_fn._cache_size())
        if jax.process_index() == 0:
            write_json(self.workdir / RESULTS, {**self.last, "peak_rss_bytes": peak_rss_bytes()})

    def _start(self) -> tuple[Variables, State]:
        config = self.config
        fresh, shardings = fresh_variables(config, self.stage, self.mesh)
        flat, table = fresh, None
        if config.init_from:
            flat, table = initialise(
                fresh, config.init_from, [t.fingerprint for t in self.tokenizers]
            )
            flat = place(flat, shardings)
            self.log.say(table_text(table))
        variables = divide(flat, self.stage, config)
        self.provenance = table
        self._describe(flat, set(variables.trainable))
        return variables, init_state(variables.trainable, self.tx)

    def _resume(self) -> tuple[Variables, State]:
        meta = self.checkpoints.meta()
        self.changes = resume.check(
            resume.fields_of(meta["config"], meta["fingerprint"]),
            resume.fields_of(to_dict(self.config), self.fingerprint),
            self.allow_change,
            str(self.workdir),
        )
        flat = fresh_variables(self.config, self.stage, self.mesh)[0]
        variables = divide(flat, self.stage, self.config)
        state = self.checkpoints.restore(init_state(variables.trainable, self.tx))
        step = int(state["step"])
        frozen = self.checkpoints.restore_frozen(variables.frozen, step)
        self.provenance = meta["provenance"]
        self.history = meta["changes"] + [{"step": step, **c._asdict()} for c in self.changes]
        self.log.say(f"resumed {self.workdir} at step {step}")
        for change in self.changes:
            self.log.say(f"  allowed: {change}")
        if self.changes and jax.process_index() == 0:
            write_json(self.workdir / "config.json", to_dict(self.config))
        return Variables(state["trainable"], frozen), state

    def _describe(self, flat: dict, trainable: set[str]) -> None:
        """Write what a person or the report wants to know beside the checkpoints."""
        if jax.process_index():
            return
        self.workdir.mkdir(parents=True, exist_ok=True)
        own, other = self.tokenizers
        own.save(self.workdir / "tokenizer")
        other.save(self.workdir / "qformer_tokenizer")
        write_json(self.workdir / "config.json", to_dict(self.config))
        write_json(self.workdir / "stage_table.json", stage_table(flat, trainable))

    def _save(self, step: int, state: State, variables: Variables, force: bool = False) -> None:
        due = force or step % self.config.checkpoint.every == 0
        if due and not _finite(state["trainable"]):
            raise DataError(
                "the parameters are no longer finite numbers",
                where=f"step {step}",
                expected="finite values",
                fix="lower optimizer.lr or restore an earlier step",
            )
        saved = self.checkpoints.save(
            step,
            state,
            variables.frozen,
            {
                "config": to_dict(self.config),
                "fingerprint": self.fingerprint,
                "tokenizers": [t.fingerprint for t in self.tokenizers],
                "provenance": self.provenance,
                "changes": self.history,
            },
            force=force,
        )
        if saved:
            self.log.event("save", checkpoint=step)

    def _evaluate(self, step: int, state: State, variables: Variables) -> None:
        every = self.config.eval.every
        if self.evaluate is not None and every > 0 and step % every == 0:
            leaves = {**variables.frozen, **state["trainable"]}
            scores = self.evaluate(leaves, self.tokenizers, self.mesh)
            self.log.event("eval", scores=dict(scores))

    def _log(self, step: int, metrics: dict[str, jax.Array]) -> None:
        row = self.last = self.log.log(jax.device_get(metrics))
        if not np.isfinite(row["loss"]):
            raise DataError(
                "the loss is not a finite number",
                where=f"step {step}",
                expected="a finite loss; the terms are "
                + ", ".join(f"{k}={v:.4g}" for k, v in row.items() if k != "step"),
                fix="lower optimizer.lr, or raise optimizer.warmup_steps",
            )

    def _to_devices(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        rows = batch_sharding(self.mesh)
        arrays = {
            name: jax.make_array_from_process_local_data(rows, value)
            for name, value in batch.items()
            if name != "index"
        }
        if self.stage.batch == "pairs":
            whole = NamedSharding(self.mesh, PartitionSpec())
            arrays["dec_id"] = jax.device_put(np.int32(self.tokenizers[1].dec_id), whole)
        return arrays


def _finite(leaves: dict[str, jax.Array]) -> bool:
    return all(bool(jax.numpy.isfinite(leaf).all()) for leaf in leaves.values())


def write_json(path: Path, value: object) -> None:
    """Write JSON whole or not at all."""
    part = path.with_suffix(".part")
    part.write_text(json.dumps(value, indent=1, ensure_ascii=False), encoding="utf-8")
    os.replace(part, path)
