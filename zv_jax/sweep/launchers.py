"""The command that runs one point: here, or through a script of `launch/` on a cluster."""

from __future__ import annotations

import sys
from pathlib import Path

from zv_jax.errors import ConfigError, unknown_name
from zv_jax.sweep.points import Point, Sweep, overrides, workdir

SCRIPTS = {"slurm": "launch/slurm.sh", "tpu_vm": "launch/tpu_vm.sh", "gke": "launch/gke.sh"}
LAUNCHERS = ("local", *SCRIPTS)


def command(
    launcher: str, sweep: Sweep, point: Point, root: Path, extra: list[str], dry_run: bool = False
) -> list[str]:
    """What is run for a point.

    Args:
        extra: further arguments of the launch script, such as the name of a TPU.
        dry_run: the script shall only print.

    Raises:
        ConfigError: the launcher is unknown, or its script is not here.
    """
    return command_in(launcher, sweep, point, workdir(root, point), extra, dry_run)


def command_in(
    launcher: str, sweep: Sweep, point: Point, folder: Path, extra: list[str], dry_run: bool = False
) -> list[str]:
    """What `command` returns, for a run in `folder`.

    Raises:
        ConfigError: as `command`.
    """
    train = ["train", f"--config={sweep.config}", f"--workdir={folder}", *overrides(point)]
    if launcher == "local":
        return [sys.executable, "-m", "zv_jax", *train]
    if launcher not in SCRIPTS:
        raise unknown_name("launcher", launcher, LAUNCHERS, "--launcher", fix="--launcher=local")
    script = Path(SCRIPTS[launcher])
    if not script.is_file():
        raise ConfigError(
            f"there is no {script} here",
            where=str(Path.cwd()),
            expected="the working directory to be a checkout of this project",
            fix="cd to it; the launch scripts copy it to the cluster",
        )
    name = folder.name.replace("=", "-").replace(",", "-").replace("_", "-").lower()[-40:]
    options = [f"--name=zv-{name.strip('-.')}", *extra, *(["--dry_run"] if dry_run else [])]
    return ["bash", str(script), *options, "--", *train]
