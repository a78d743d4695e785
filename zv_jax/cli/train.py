"""`zv train`: one stage of training."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from absl import flags

import zv_jax
from zv_jax.buckets import place
from zv_jax.cli.arguments import required
from zv_jax.config import flags as recipes
from zv_jax.errors import ConfigError
from zv_jax.parallel import runtime

if TYPE_CHECKING:
    from zv_jax.config import Config

USAGE = """
usage: zv train --config FILE[:ARG] --workdir DIR [--config.section.field=value ...]

  zv train --config configs/quickstart.py:stage0 --workdir runs/stage0
  zv train --config configs/stage1.py:chat --workdir runs/s1 --config.optimizer.lr=2e-5

The same workdir resumes; a finished run returns at once. Ctrl-C saves and ends (exit code 75), a
second one ends at once. Every field of a recipe can be
overridden; `zv config show --config FILE` lists them. A run whose configuration or data changed
does not resume, unless the change is named:

  zv train --config configs/stage1.py:chat --workdir runs/s1 \\
      --config.optimizer.lr=1e-5 --allow_change=optimizer.lr

--epochs=3 takes as many steps as three passes over the samples of all sources, in place of
--config.train.steps; the first line says how many.

--memory_fraction=0.9 lets a training take that share of a GPU's memory; jax takes 0.75 without it.

On many hosts the same command runs on each: with --multihost on TPU VMs, GKE and SLURM, else with
--coordinator=HOST:PORT --num_processes=N --process_id=I. launch/ has scripts for all of them.
"""
TAKES_CONFIG = "config"
AFTER_INTERRUPT = "the same command continues from the last saved step"
AGAIN = 75  # exit code: told to end before the last step, saved; the same command continues


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string(
        "workdir",
        None,
        "folder of this run, or gs://bucket/folder: checkpoints, metrics, log",
        flag_values=values,
    )
    flags.DEFINE_float(
        "epochs", None, "passes over the samples, in place of train.steps", 0, flag_values=values
    )
    flags.DEFINE_float(
        "memory_fraction",
        None,
        "share of a GPU's memory to take",
        0.01,
        1.0,
        flag_values=values,
    )
    flags.DEFINE_bool(
        "multihost", False, "join the processes that the cluster names", flag_values=values
    )
    flags.DEFINE_string("coordinator", "", "HOST:PORT of process 0", flag_values=values)
    flags.DEFINE_integer("num_processes", 0, "of this job", flag_values=values)
    flags.DEFINE_integer("process_id", -1, "of this process, from 0", flag_values=values)
    flags.DEFINE_list(
        "allow_change", [], "fields that may differ from the checkpoint", flag_values=values
    )


def run(values: flags.FlagValues, words: list[str]) -> None:
    from zv_jax.config import validate

    config = validate(required(values, "config", "configs/quickstart.py:stage0"))
    if values.epochs is not None:
        config = _of_epochs(values, config)
    workdir = place(required(values, "workdir", "runs/NAME", bucket=True))
    if values.memory_fraction is not None:
        if runtime.backend_is_cpu():
            raise ConfigError(
                "a share of the memory of a GPU, and no GPU to take it from",
                where="--memory_fraction",
                expected="a GPU with the extra gpu installed, and JAX_PLATFORMS not set to cpu",
                fix="leave --memory_fraction out",
            )
        runtime.use_memory_fraction(values.memory_fraction)
    runtime.prepare()
    from zv_jax.parallel import distributed

    distributed.start(values.coordinator, values.num_processes, values.process_id, values.multihost)
    if zv_jax.train(config, workdir, allow_change=values.allow_change) < config.train.steps:
        sys.exit(AGAIN)


def _of_epochs(values: flags.FlagValues, config: Config) -> Config:
    """The recipe with the steps that --epochs comes to."""
    from zv_jax.config import validate
    from zv_jax.data.pipeline import epochs

    if "train.steps" in recipes.overridden(values):
        raise ConfigError(
            "both --epochs and --config.train.steps are given",
            where="--epochs",
            expected="one of them",
            fix="leave one out",
        )
    if not values.epochs:
        raise ConfigError("no epoch is no training", where="--epochs", expected="more than 0")
    steps, samples = epochs.steps(config, values.epochs)
    print(
        f"zv: {values.epochs:g} epochs of {samples:,} samples in batches of "
        f"{config.train.batch_size} are {steps:,} steps",
        file=sys.stderr,
    )
    with values.config.unlocked():
        values.config.train.steps = steps
    return validate(values.config)
