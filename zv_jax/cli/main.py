"""Finds the command, reads its flags, runs it and turns failures into messages and exit codes."""

from __future__ import annotations

import sys

from absl import flags

import zv_jax
from zv_jax.cli import commands, failures, terminal
from zv_jax.config import flags as recipes
from zv_jax.errors import ConfigError


def run() -> None:
    """Entry point of the installed program."""
    sys.stdout = terminal.guarded(sys.stdout)
    sys.exit(main(sys.argv[1:]))


def main(arguments: list[str]) -> int:
    """Runs `zv` with `arguments` and returns the exit code; 0 only on success.

    `--debug` anywhere lets every exception through with its traceback.
    """
    debug = "--debug" in arguments
    try:
        _dispatch([a for a in arguments if a != "--debug"])
        sys.stdout.flush()
        return 0
    except (Exception, KeyboardInterrupt) as error:
        explained = None if debug else failures.explain(error)
        if explained is None:
            raise
        if explained.message:
            print(terminal.visible(explained.message), file=sys.stderr)
        return explained.code


def _dispatch(arguments: list[str]) -> None:
    if arguments and arguments[0] == "help":  # zv help data convert
        arguments = [*arguments[1:], "--help"]
    if not arguments or arguments[0] in commands.HELP:
        print(commands.overview())
        return
    if arguments[0] == "--version":
        print(f"zv_jax {zv_jax.__version__}")
        return
    wants_help = any(argument in commands.HELP for argument in arguments)
    if wants_help and arguments[0] in commands.COMMANDS and arguments[1] in commands.HELP:
        group = commands.group_help(arguments[0])
        if group is not None:
            print(group)
            return
    command, rest = commands.find(arguments)
    if wants_help:
        print(command.help())
        return
    # Libraries (grain's workers) read the global flags; ours live in `values`.
    flags.FLAGS.mark_as_parsed()
    values = command.flags()
    words = _parse(command, values, rest)
    command.check_words(words)
    try:
        command.module.run(values, words)
    except KeyboardInterrupt as interrupt:
        raise KeyboardInterrupt(*command.after_interrupt) from interrupt


def _parse(command: commands.Command, values: flags.FlagValues, arguments: list[str]) -> list[str]:
    """Fills `values`; the words that are no flags."""
    try:
        return recipes.parse(values, arguments, command.recipe_flag, command.program)
    except ConfigError as error:
        if isinstance(error.__cause__, flags.UnrecognizedFlagError):
            command.refuse_foreign(error.__cause__.flagname)
        raise
