"""`zv sweep`: one recipe with many settings."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.errors import ZvError

if TYPE_CHECKING:
    from zv_jax.sweep.ablation import Ablation
    from zv_jax.sweep.points import Sweep

USAGE = """
usage: zv sweep --sweep FILE[:ARG] --workdir DIR [--launcher local|slurm|tpu_vm|gke] [--dry_run] ...

  zv sweep --sweep configs/sweeps/learning_rate.py --workdir runs/lr
  zv sweep --sweep configs/sweeps/base_against_chat.py --workdir runs/base_against_chat
  zv sweep --sweep configs/sweeps/learning_rate.py --workdir runs/lr --launcher slurm \\
      --launch=--partition=gpu --launch=--nodes=2 --dry_run

Each point is a `zv train` in a folder of its own below --workdir. The same command again skips
finished points, resumes interrupted and repeats failed ones, and shows the table. An ablation
compares whole ways to train: its arms are trainings one after another and a `zv eval`, run one at a
time, and its table holds the scores.
"""

AFTER_INTERRUPT = "the same command continues"


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("sweep", None, "Python file with get_sweep()", flag_values=values)
    flags.DEFINE_string("workdir", None, "folder of all runs", flag_values=values)
    flags.DEFINE_string("launcher", "local", "local, slurm, tpu_vm or gke", flag_values=values)
    flags.DEFINE_multi_string("launch", [], "argument of the launch script", flag_values=values)
    flags.DEFINE_integer("parallel", 1, "runs at once", flag_values=values)
    flags.DEFINE_integer("retries", 1, "of a failed point", flag_values=values)
    flags.DEFINE_bool("dry_run", False, "print the commands, run none", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    from zv_jax.sweep import files
    from zv_jax.sweep.ablation import Ablation

    sweep = files.load(required(values, "sweep", "configs/sweeps/learning_rate.py"))
    root = Path(required(values, "workdir", "runs/sweep"))
    if isinstance(sweep, Ablation):
        _ablation(sweep, root, values)
    else:
        _points(sweep, root, values)


def _ablation(sweep: Ablation, root: Path, values: flags.FlagValues) -> None:
    from zv_jax.sweep import ablation

    failed = ablation.run(sweep, root, values.launcher, values.launch, values.dry_run)
    if values.dry_run:
        return
    print("\n" + ablation.text(sweep, root))
    print(f"\nwritten: {root}/ablation.md, {root}/ablation.csv")
    _raise(list(failed), "steps", root)


def _points(sweep: Sweep, root: Path, values: flags.FlagValues) -> None:
    from zv_jax.sweep import table
    from zv_jax.sweep.run import sweep_points

    found = sweep_points(
        sweep,
        root,
        values.launcher,
        values.launch,
        values.parallel,
        values.retries,
        values.dry_run,
    )
    if values.dry_run:
        return
    print("\n" + table.text(sweep, found))
    print(f"\nwritten: {root}/sweep.csv, {root}/sweep.html")
    failed = [row.id for row in found if row.state == "failed"]
    _raise(failed, f"of {len(found)} points", root)


def _raise(failed: list[str], what: str, root: Path) -> None:
    """`ZvError` where something failed."""
    if failed:
        raise ZvError(
            f"{len(failed)} {what} failed: {', '.join(failed)}",
            where=str(root),
            fix="see their output.log; the same command tries them again",
        )
