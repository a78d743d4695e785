"""Finds the command, reads its flags, runs it and turns failures into messages and exit codes.

A command is a module of this package with `USAGE` (text), `define(values)` (adds its flags to an
`absl.flags.FlagValues`) and `run(values, words)`, where `words` are the arguments that are no
flags. A command with `SUBCOMMANDS` takes one of them as its first word; "" among them means that
it also works without. `TAKES_CONFIG` names the flag that holds a recipe and its overrides.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType

from absl import flags

import zv_jax
from zv_jax.cli import failures, terminal
from zv_jax.config import flags as recipes
from zv_jax.errors import ConfigError, nearest

COMMANDS = {
    "train": "train one stage; the same workdir resumes",
    "eval": "score a checkpoint on a suite of tasks",
    "report": "gather runs into one results.json and one report.html",
    "generate": "answer one question about pictures",
    "chat": "talk about pictures in the terminal",
    "data": "prepare, look at, count or check data",
    "plan": "does a recipe fit on a machine, how fast, at what cost",
    "sweep": "train a recipe with many settings, one table at the end",
    "tokenizer": "add Chinese to a vocabulary, write tokenizers for Hugging Face",
    "convert": "weights from and to Hugging Face, and a comparison of two checkpoints",
    "config": "show a recipe with every field resolved",
}


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
    if not arguments or arguments[0] in ("-h", "--help", "-help", "help"):
        if len(arguments) > 1 and arguments[0] == "help":
            arguments = [arguments[1], "--help"]
        else:
            print(_overview())
            return
    if arguments[0] == "--version":
        print(f"zv_jax {zv_jax.__version__}")
        return
    name, rest = arguments[0], arguments[1:]
    if name not in COMMANDS:
        raise ConfigError(
            f"there is no command {name!r}{nearest(name, COMMANDS)}",
            where="zv " + name,
            expected="one of " + ", ".join(COMMANDS),
            fix="zv --help",
        )
    module = importlib.import_module(f"zv_jax.cli.{name}")
    values = flags.FlagValues()
    module.define(values)
    if any(a in ("-h", "--help", "-help", "--helpfull") for a in rest):
        print(_help(name, module, values))
        return
    # Libraries (grain's workers) read the global flags; ours live in `values`.
    flags.FLAGS.mark_as_parsed()
    words = recipes.parse(values, rest, getattr(module, "TAKES_CONFIG", None), f"zv {name}")
    _check_words(name, module, words)
    module.run(values, words)


def _check_words(name: str, module: ModuleType, words: list[str]) -> None:
    subcommands = getattr(module, "SUBCOMMANDS", None)
    if subcommands is None:
        if words:
            raise ConfigError(
                f"{words[0]!r} is not understood",
                where=f"zv {name}",
                expected="flags such as --name=value only",
                fix=f"zv {name} --help",
            )
        return
    given = words[0] if words else ""
    if given not in subcommands:
        what = (
            f"zv {name} has no {given!r}{nearest(given, subcommands)}"
            if words
            else (f"zv {name} needs to know what to do")
        )
        raise ConfigError(
            what,
            where=f"zv {name}",
            expected="one of " + ", ".join(filter(None, subcommands)),
            fix=f"zv {name} --help",
        )


def _overview() -> str:
    width = max(map(len, COMMANDS)) + 2
    lines = [
        "zv: Ziya-Visual, a bilingual vision-language model, in JAX and Flax",
        "",
        "usage: zv COMMAND [flags]",
        "",
    ]
    lines += [f"  {name:<{width}}{text}" for name, text in COMMANDS.items()]
    lines += [
        "",
        "zv COMMAND --help   flags and examples of a command",
        "zv COMMAND --debug  full traceback when something fails",
        "zv --version        version of this program",
    ]
    return "\n".join(lines)


def _help(name: str, module: ModuleType, values: flags.FlagValues) -> str:
    lines = [f"zv {name}: {COMMANDS[name]}", "", module.USAGE.strip(), "", "flags:"]
    recipe = getattr(module, "TAKES_CONFIG", None)
    if recipe:
        lines.append(
            f"{f'  --{recipe}=<file[:arg]>':<28}the recipe; --{recipe}.section.field=value "
            "changes a field"
        )
    for key in values:
        flag = values[key]
        kind = flag.parser.flag_type() or "text"
        left = f"  --{key}" if flag.boolean else f"  --{key}=<{kind}>"
        default = "" if flag.default in (None, "", [], False) else f" (default: {flag.default})"
        lines.append(f"{left:<28}{flag.help}{default}")
    lines.append(f"{'  --debug':<28}print a full traceback when something fails")
    return "\n".join(lines)
