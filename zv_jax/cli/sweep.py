"""`zv sweep`: one recipe with many settings."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.errors import ZvError

USAGE = """
usage: zv sweep --sweep FILE --workdir DIR [--launcher local|slurm|tpu_vm|gke] [--dry_run] ...

  zv sweep --sweep configs/sweeps/learning_rate.py --workdir runs/lr
  zv sweep --sweep configs/sweeps/learning_rate.py --workdir runs/lr --launcher slurm \\
      --launch=--partition=gpu --launch=--nodes=2 --dry_run

Each point is a `zv train` in a folder of its own below --workdir. The same command again skips
finished points, resumes interrupted and repeats failed ones, and shows the table.
"""


def define(values: flags.FlagValues) -> None:
    flags.DEFINE_string("sweep", None, "Python file with get_sweep()", flag_values=values)
    flags.DEFINE_string("workdir", None, "folder of all runs", flag_values=values)
    flags.DEFINE_string("launcher", "local", "local, slurm, tpu_vm or gke", flag_values=values)
    flags.DEFINE_multi_string("launch", [], "argument of the launch script", flag_values=values)
    flags.DEFINE_integer("parallel", 1, "runs at once", flag_values=values)
    flags.DEFINE_integer("retries", 1, "of a failed point", flag_values=values)
    flags.DEFINE_bool("dry_run", False, "print the commands, run none", flag_values=values)


def run(values: flags.FlagValues, words: list[str]) -> None:
    from zv_jax.sweep import points, table
    from zv_jax.sweep.run import sweep_points

    sweep = points.load(required(values, "sweep", "configs/sweeps/learning_rate.py"))
    root = Path(required(values, "workdir", "runs/sweep"))
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
    if failed:
        raise ZvError(
            f"{len(failed)} of {len(found)} points failed: {', '.join(failed)}",
            where=str(root),
            fix="see their output.log; the same command tries them again",
        )
