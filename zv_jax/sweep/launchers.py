"""The command that runs one point: here, or through a script of `launch/` on a cluster."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from zv_jax.errors import ConfigError, unknown_name
from zv_jax.sweep.points import Point, Sweep, overrides, workdir

SCRIPTS = {"slurm": "launch/slurm.sh", "tpu_vm": "launch/tpu_vm.sh", "gke": "launch/gke.sh"}
LAUNCHERS = ("local", *SCRIPTS)
_NAME = 40  # letters of a name; GKE and TPU VMs take no more


def command(launcher: str, sweep: Sweep, point: Point, root: Path, extra: list[str]) -> list[str]:
    """What is run for a point.

    Args:
        extra: further arguments of the launch script, such as the type of a TPU.

    Raises:
        ConfigError: the launcher is unknown, or its script is not here.
    """
    return command_in(launcher, sweep, point, workdir(root, point), extra)


def command_in(
    launcher: str, sweep: Sweep, point: Point, folder: Path, extra: list[str]
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
    return ["bash", str(script), f"--name={job_name(folder.name)}", *extra, "--", *train]


def job_name(folder: str) -> str:
    """A name of a job that every launcher takes: small letters, digits and hyphens, at most 40.

    Of a longer folder name the last words stay: its end tells points apart.
    """
    words = re.findall(r"[a-z0-9]+", folder.lower())
    while len(words) > 1 and len("-".join(("zv", *words))) > _NAME:
        del words[0]
    return "-".join(("zv", *words))[:_NAME]


def rehearse(words: list[str]) -> str:
    """What a dry run shows of a command: itself, or what its launch script checks and would run.

    Raises:
        ConfigError: the script refuses its arguments.
    """
    if words[0] != "bash":
        return " ".join(words)
    script, options = words[1], words[2:]
    done = subprocess.run(
        ["bash", script, "--dry_run", *options], capture_output=True, text=True, check=False
    )
    if done.returncode:
        what, _, fix = done.stderr.strip().partition("\n  fix: ")
        raise ConfigError(
            f"{script} refuses its arguments: {what}",
            where=" ".join(options),
            fix=f"--launch={fix.splitlines()[0]}" if fix.startswith("--") else fix,
        )
    return done.stdout.rstrip("\n")
