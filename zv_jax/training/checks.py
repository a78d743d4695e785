"""Checks before a run starts, and before its parameters are saved."""

from __future__ import annotations

from collections.abc import Mapping

import jax
from jax.sharding import Mesh

from zv_jax.config.schema import Config
from zv_jax.errors import ConfigError, TrainingError
from zv_jax.parallel.sharding import data_parallel_size
from zv_jax.stages import batch_spec, labelled_tokens, stage_of
from zv_jax.training.losses.kind import loss_of


def check_batch(config: Config, mesh: Mesh) -> None:
    """Raises ConfigError when mesh, microbatches or groups do not divide the batch, or rows are
    longer than the positions of the language model."""
    train, stage, ways = config.train, stage_of(config), data_parallel_size(mesh)
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
            fix=f"set --config.stage.itm_group={local}, or 0 for one group",
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


def check_finite(step: int, leaves: Mapping[str, jax.Array]) -> None:
    """Raises TrainingError, naming a leaf, when a parameter is not finite."""
    for name, leaf in leaves.items():
        if not bool(jax.numpy.isfinite(leaf).all()):
            raise TrainingError(
                f"the parameters are no longer finite: {name}",
                where=f"step {step}",
                expected="finite values; this step is not saved",
                fix="lower optimizer.lr, and continue from the step before",
            )
