"""The commands of `zv`: where each one is, what it takes and how it explains itself.

A command is a module of this package with `USAGE` (text), `define(values)` (adds its flags to an
`absl.flags.FlagValues`) and `run(values, words)`. Two attributes are optional: `TAKES_CONFIG`
names the flag that holds a recipe and its overrides; `TAKES_WORDS` says that there are arguments
that are no flags.

A command with subcommands is a folder: its `__init__.py` has `USAGE` and `SUBCOMMANDS`, and each
subcommand is a module in it (`from-hf` in `from_hf.py`) with the flags that it has itself. Where
the command also works without a subcommand, `DEFAULT` names the module that does the work.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import ModuleType

from absl import flags

from zv_jax.errors import ConfigError, unknown_name
from zv_jax.tables import align

COMMANDS = {
    "train": "train one stage; the same workdir resumes",
    "eval": "score a checkpoint on a suite of tasks",
    "report": "gather runs into one results.json and one report.html",
    "generate": "answer one question about pictures",
    "chat": "talk about pictures in the terminal",
    "serve": "answer over HTTP, for every client of OpenAI's API",
    "data": "prepare, look at, count or check data",
    "bmmic": "build bilingual instruction data with a language model, and what it cost",
    "plan": "does a recipe fit on a machine, how fast, at what cost",
    "sweep": "train a recipe with many settings, one table at the end",
    "tokenizer": "add Chinese to a vocabulary, write tokenizers for Hugging Face",
    "convert": "weights from and to Hugging Face, and a comparison of two checkpoints",
    "config": "show a recipe with every field resolved",
}
DEBUG = "print a full traceback when something fails"
HELP = ("-h", "--help", "-help", "--helpfull")


@dataclass(frozen=True)
class Command:
    """A command that does something.

    Attributes:
        program: as it is typed, "zv data convert".
        module: where it is defined.
        group: the folder of its subcommands that it is one of; None where it has no siblings.
    """

    program: str
    module: ModuleType
    group: str | None = None

    @property
    def recipe_flag(self) -> str | None:
        """Name of the flag that holds a recipe, if there is one."""
        return getattr(self.module, "TAKES_CONFIG", None)

    @property
    def after_interrupt(self) -> tuple[str, ...]:
        """What the same command does after Ctrl-C, where it does not begin anew."""
        after = getattr(self.module, "AFTER_INTERRUPT", None)
        return (after,) if after else ()

    def flags(self) -> flags.FlagValues:
        """A new set of the flags that it has, without that of a recipe."""
        values = flags.FlagValues()
        self.module.define(values)
        return values

    def has(self, flag: str) -> bool:
        """Whether `flag` (without dashes, perhaps of a field: "config.train.steps") is one."""
        name = flag.replace("-", "_").split(".")[0]
        recipe = ("config", self.recipe_flag) if self.recipe_flag else ()
        values = self.flags()
        return name in recipe or name in values or name.removeprefix("no") in values

    def check_words(self, words: Sequence[str]) -> None:
        """Refuses words where the command takes none."""
        if words and not getattr(self.module, "TAKES_WORDS", False):
            raise ConfigError(
                f"{words[0]!r} is not understood",
                where=self.program,
                expected="flags such as --name=value only",
                fix=f"{self.program} --help",
            )

    def refuse_foreign(self, flag: str) -> None:
        """Raises a `ConfigError` that names the sibling a flag belongs to, if there is one."""
        owners = [] if self.group is None else [c for c in members(self.group) if c.has(flag)]
        if owners:
            programs = ", ".join(command.program for command in owners)
            raise ConfigError(
                f"{self.program} has no flag --{flag}",
                where=self.program,
                expected=f"--{flag} with {programs}",
                fix=f"leave it out; {self.program} --help shows the flags there are",
            )

    def help(self) -> str:
        """What it is for, how it is used, and its flags."""
        command = self.program.split()[1]
        head = [] if self.group else [f"zv {command}: {COMMANDS[command]}", ""]
        return "\n".join([*head, self.module.USAGE.strip(), "", *self.flag_lines()])

    def flag_lines(self) -> list[str]:
        """A table of its flags, that of a recipe first."""
        rows = []
        if self.recipe_flag:
            about = f"the recipe; --{self.recipe_flag}.section.field=value changes a field"
            rows.append((f"  --{self.recipe_flag}=<file[:arg]>", about))
        values = self.flags()
        rows += [_flag_row(values[key]) for key in values]
        return ["flags:", *align([*rows, ("  --debug", DEBUG)], least=(26,))]


def _flag_row(flag: flags.Flag) -> tuple[str, str]:
    """`--name=<kind>`, and what it is for with its default."""
    kind, about = flag.parser.flag_type() or "text", " ".join(flag.help.split())
    kind = {"string": "text", "comma separated list of strings": "a,b"}.get(kind, kind)
    if choices := getattr(flag.parser, "enum_values", None):
        kind = "|".join(choices)
        about = about.removeprefix(f"<{kind}>: ")
    about = about.removesuffix("; repeat this option to specify a list of values")
    default = ",".join(flag.default) if isinstance(flag.default, list) else flag.default
    if default not in (None, "", False):
        about += f" (default: {default})"
    return f"  --{flag.name}" if flag.boolean else f"  --{flag.name}=<{kind}>", about


def find(arguments: Sequence[str]) -> tuple[Command, list[str]]:
    """The command that `arguments` begin with, and the arguments that are left.

    Raises:
        ConfigError: there is no such command or subcommand.
    """
    name, rest = arguments[0], list(arguments[1:])
    if name not in COMMANDS:
        raise unknown_name("command", name, COMMANDS, where=f"zv {name}", fix="zv --help")
    module = importlib.import_module(f"zv_jax.cli.{name}")
    if not hasattr(module, "SUBCOMMANDS"):
        return Command(f"zv {name}", module), rest
    if rest and rest[0] in module.SUBCOMMANDS:
        return _member(name, rest[0]), rest[1:]
    if rest and not rest[0].startswith("-"):
        raise unknown_name(
            f"subcommand of zv {name}",
            rest[0],
            module.SUBCOMMANDS,
            where=f"zv {name}",
            fix=f"zv {name} --help",
        )
    if hasattr(module, "DEFAULT"):
        return _default(name, module), rest
    later = [word for word in rest if word in module.SUBCOMMANDS]
    raise ConfigError(
        f"zv {name} needs to know what to do",
        where=f"zv {name}",
        expected="one of " + ", ".join(module.SUBCOMMANDS),
        fix=f"put it first: zv {name} {later[0]}" if later else f"zv {name} --help",
    )


def members(group: str) -> list[Command]:
    """The subcommands of a command, with the one that needs no name first."""
    module = importlib.import_module(f"zv_jax.cli.{group}")
    first = [_default(group, module)] if hasattr(module, "DEFAULT") else []
    return first + [_member(group, name) for name in module.SUBCOMMANDS]


def every() -> Iterator[Command]:
    """All commands that do something."""
    for name in COMMANDS:
        module = importlib.import_module(f"zv_jax.cli.{name}")
        yield from (
            members(name) if hasattr(module, "SUBCOMMANDS") else [Command(f"zv {name}", module)]
        )


def group_help(name: str) -> str | None:
    """What the subcommands of `name` are for; None for a command without any."""
    module = importlib.import_module(f"zv_jax.cli.{name}")
    if not hasattr(module, "SUBCOMMANDS"):
        return None
    lines = [f"zv {name}: {COMMANDS[name]}", "", module.USAGE.strip(), ""]
    if hasattr(module, "DEFAULT"):
        lines += [*_default(name, module).flag_lines(), ""]
    more = [(f"zv {name} SUBCOMMAND --help", "flags and examples of one of them")]
    return "\n".join([*lines, *align([*more, ("--debug", DEBUG)])])


def overview() -> str:
    """The text of `zv --help`."""
    return "\n".join(
        [
            "zv: Ziya-Visual, a bilingual vision-language model, in JAX and Flax",
            "",
            "usage: zv COMMAND [flags]",
            "",
            *align((f"  {name}", text) for name, text in COMMANDS.items()),
            "",
            "zv COMMAND --help   flags and examples of a command",
            "zv COMMAND --debug  full traceback when something fails",
            "zv --version        version of this program",
        ]
    )


def _member(group: str, name: str) -> Command:
    module = importlib.import_module(f"zv_jax.cli.{group}.{name.replace('-', '_')}")
    return Command(f"zv {group} {name}", module, group)


def _default(group: str, module: ModuleType) -> Command:
    inner = importlib.import_module(f"zv_jax.cli.{group}.{module.DEFAULT}")
    return Command(f"zv {group}", inner, group)
