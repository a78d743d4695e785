"""What the subcommands of `zv bmmic` share: the recipe, the workdir, the part of a worker."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from zv_jax.cli.arguments import required
from zv_jax.errors import ConfigError

if TYPE_CHECKING:
    from zv_jax.bmmic.config import Config

EXAMPLE = "configs/bmmic/quickstart.py"


def define(values: flags.FlagValues) -> None:
    """The flag --workdir."""
    flags.DEFINE_string("workdir", None, "folder of the run", flag_values=values)


def define_part(values: flags.FlagValues) -> None:
    """The flags --workdir and --part."""
    define(values)
    flags.DEFINE_string(
        "part", "0/1", "number/count of this worker of several, each with its ledger",
        flag_values=values,
    )  # fmt: skip


def define_asking(values: flags.FlagValues) -> None:
    """Flags of the steps that ask a language model."""
    define_part(values)
    flags.DEFINE_boolean(
        "dry_run", False, "say what it would cost and ask nothing", flag_values=values
    )


def setting(values: flags.FlagValues) -> tuple[Config, Path]:
    """The checked recipe and the workdir."""
    recipe = required(values, "config", EXAMPLE)
    workdir = Path(required(values, "workdir", "runs/bmmic"))
    from zv_jax.bmmic import config as config_lib

    return config_lib.validate(recipe), workdir


def ask(step: str, values: flags.FlagValues) -> None:
    """Runs one of the steps that ask."""
    config, workdir = setting(values)
    from zv_jax.bmmic import run as run_lib

    run_lib.asked(step, config, workdir, part(values.part), print, values.dry_run)


def part(text: str) -> tuple[int, int]:
    """`0/2` as numbers.

    Raises:
        ConfigError: it is no part of a whole.
    """
    number, _, count = text.partition("/")
    if number.isdecimal() and count.isdecimal() and int(number) < int(count):
        return int(number), int(count)
    raise ConfigError(
        f"no part of the work: {text!r}",
        where="--part",
        expected="number/count, such as 0/2 and 1/2 for two workers",
    )
