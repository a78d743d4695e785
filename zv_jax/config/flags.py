"""`--config FILE[:ARG] --config.section.field=value`: finding, reading and overriding a recipe.

`ml_collections.config_flags` does the parsing; this module finds files of the installed package
and turns the many kinds of exception of the two flag libraries into one `ConfigError`.
"""

from __future__ import annotations

import re
import sys
from importlib import resources
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from zv_jax.config.fields import leaves
from zv_jax.errors import ConfigError, nearest

KINDS = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    tuple: "a list such as a,b or \"('a','b')\"",
}


def parse(
    values: flags.FlagValues, arguments: list[str], config_flag: str | None, program: str
) -> list[str]:
    """Parses `arguments` into `values` and returns the words that are no flags.

    With `config_flag`, a flag `config` is added that holds a ConfigDict with the overrides
    applied; on the command line it may be written `--config` or `--<config_flag>`.

    Raises:
        ConfigError: a flag, a recipe, a field or a value is wrong.
    """
    argv = [program, *arguments]
    if config_flag is None:
        return _parse_flags(values, argv)
    argv = _config_first(argv, config_flag)
    _define(values, argv)
    spec = _spec(argv)
    if spec is None and _overrides(argv):
        raise ConfigError(
            "no recipe is given",
            where=program,
            expected=f"--{config_flag}=FILE[:ARG]",
            fix=f"{program} --help",
        )
    if spec is not None:
        argv = _quote_lists(argv, spec)
    try:
        words = _parse_flags(values, argv)
    except (KeyError, AttributeError, IndexError, flags.Error, TypeError, ValueError) as error:
        raise _explain(error, argv, spec or "") from error
    return words


def locate(name: str) -> Path:
    """The file of a recipe: yours if there is one at `name`, else one that came with the package.

    Of those, `configs/stage1.py`, `stage1.py` and `stage1` are the same, from any directory.

    Raises:
        ConfigError: there is none; the nearest name is given.
    """
    if Path(name).is_file():
        return Path(name)
    home = installed()
    known = sorted(f.relative_to(home).as_posix() for f in home.rglob("[!_]*.py"))
    inside = name.removeprefix("configs/").removesuffix(".py") + ".py"
    if inside in known:
        return home / inside
    raise ConfigError(
        f"unknown recipe {name!r}{nearest(name, [f'configs/{file}' for file in known])}",
        where="--config",
        expected="a Python file with get_config(): yours, or one of "
        + ", ".join(f"configs/{file}" for file in known),
        fix="zv config show --config configs/quickstart.py:stage0",
    )


def installed() -> Path:
    """The folder of the recipes that came with the package."""
    return Path(str(resources.files("zv_jax.configs")))


def overridden(values: flags.FlagValues) -> set[str]:
    """Dotted names of the fields given on the command line."""
    return set(override_values(values))


def override_values(values: flags.FlagValues) -> dict[str, Any]:
    """The fields given on the command line, by dotted name."""
    return dict(config_flags.get_override_values(values["config"]))


def _define(values: flags.FlagValues, argv: list[str]) -> None:
    # config_flags loads every recipe into one module, where names of the last one would survive.
    sys.modules.pop("config_config", None)
    config_flags.DEFINE_config_file("config", flag_values=values, sys_argv=argv)


def _config_first(argv: list[str], name: str) -> list[str]:
    """Puts the recipe before its overrides, as config_flags needs, and its real path into it."""
    head, rest, recipe, index = argv[0], [], None, 1
    while index < len(argv):
        match = re.fullmatch(rf"--?(config|{name})(=(.*))?", argv[index], re.DOTALL)
        if match and match.group(2) is None and index + 1 < len(argv):
            index += 1
            recipe = argv[index]
        elif match and match.group(2) is not None:
            recipe = match.group(3)
        else:
            rest.append(re.sub(rf"^--?(no)?{name}\.", r"--\1config.", argv[index]))
        index += 1
    if recipe is None:
        return [head, *rest]
    path, colon, argument = recipe.partition(":")
    return [head, f"--config={locate(path)}{colon}{argument}", *rest]


def _spec(argv: list[str]) -> str | None:
    found = [a.removeprefix("--config=") for a in argv[1:] if a.startswith("--config=")]
    return found[0] if found else None


def _parse_flags(values: flags.FlagValues, argv: list[str]) -> list[str]:
    # --max-shard-size is what people type as often as --max_shard_size.
    argv = [re.sub(r"^--?[A-Za-z][\w-]*", lambda m: _underscored(m[0]), a) for a in argv]
    try:
        return values(argv)[1:]
    except flags.UnrecognizedFlagError as error:
        name = error.flagname
        known = [key for key in values if "." not in key]
        close = nearest(name.split(".")[0], known)
        raise ConfigError(
            f"unknown flag --{name}{close}",
            where=argv[0],
            expected="one of " + ", ".join("--" + key for key in known),
            fix=f"{argv[0]} --help",
        ) from error
    except flags.Error as error:
        if re.search(r"--(no)?config\b", str(error)):
            raise
        raise ConfigError(str(error), where=argv[0], fix=f"{argv[0]} --help") from error


def _underscored(flag: str) -> str:
    name = flag.lstrip("-")
    return flag[: len(flag) - len(name)] + name.replace("-", "_")


def _explain(error: Exception, argv: list[str], spec: str) -> ConfigError:
    if isinstance(error, ConfigError):
        return error
    base = _without_overrides(argv[0], spec)
    for path, value in _overrides(argv):
        try:
            current = _lookup(base, path)
        except (KeyError, AttributeError, IndexError, TypeError, ValueError):
            return _unknown_field(base, path)
        if f"config.{path}" in str(error):
            kind = KINDS.get(type(current), "a dictionary of its fields")
            what = "a value is missing" if value is None else f"{value!r} is not {kind}"
            return ConfigError(
                what,
                where=path,
                expected=kind,
                fix=f"set --config.{path}=..., now {current!r}"
                if type(current) in KINDS
                else f"set its fields, e.g. {path}.x=...",
            )
    return _unreadable(error, spec)


def _without_overrides(program: str, spec: str) -> ConfigDict:
    argv = [program, f"--config={spec}"]
    values = flags.FlagValues()
    _define(values, argv)
    try:
        values(argv)
    except (KeyError, AttributeError, IndexError, TypeError, ValueError, flags.Error) as error:
        raise _unreadable(error, spec) from error
    return values.config


def _unreadable(error: Exception, spec: str) -> ConfigError:
    # config_flags puts the traceback of the recipe into its message; its first one is the cause.
    text = str(error).partition("During handling of")[0].strip()
    places = re.findall(r'File "(.+?)", line (\d+)', text)
    where = f"{places[-1][0]}:{places[-1][1]}" if places else spec
    why = text.splitlines()[-1] if text else type(error).__name__
    return ConfigError(
        f"the recipe cannot be read: {why}",
        where=where,
        expected="a Python file with get_config(arg) that returns a ConfigDict",
        fix="mend the recipe; --debug shows the whole traceback",
    )


def _overrides(argv: list[str]) -> list[tuple[str, str | None]]:
    found = []
    for index, argument in enumerate(argv):
        match = re.fullmatch(r"--?(?:no)?config\.([^=]+)(?:=(.*))?", argument, re.DOTALL)
        if match:
            after = argv[index + 1] if index + 1 < len(argv) else None
            value = match.group(2) if match.group(2) is not None else after
            found.append((match.group(1), value))
    return found


def _lookup(config: Any, path: str) -> Any:
    for part in re.findall(r"[^.\[\]]+|\[\d+\]", path):
        config = config[int(part[1:-1])] if part.startswith("[") else config[part]
    return config


def _unknown_field(config: ConfigDict, path: str) -> ConfigError:
    known = leaves(config)
    sections = sorted({key.rpartition(".")[0] for key in known} - {""})
    prefix = path
    while prefix and prefix not in sections:
        prefix = prefix.rpartition(".")[0]
    siblings = [key for key in known if key.rpartition(".")[0] == prefix]
    inner = [s for s in sections if s.rpartition(".")[0] == prefix]
    return ConfigError(
        f"unknown configuration field{nearest(path, [*known, *sections])}",
        where=path,
        expected="one of " + ", ".join([*siblings, *inner]),
        fix="zv config show --config FILE lists every field",
    )


def _quote_lists(argv: list[str], spec: str) -> list[str]:
    """`--config.init_from=a,/b` means two items; config_flags wants Python, `('a', '/b')`."""
    lists = {
        p: v for p, v in _overrides(argv) if v is not None and not v.lstrip().startswith(("(", "["))
    }
    if not lists:
        return argv
    base = _without_overrides(argv[0], spec)
    for path, value in lists.items():
        try:
            current = _lookup(base, path)
        except (KeyError, AttributeError, IndexError, TypeError, ValueError):
            continue  # an unknown field gets its own message
        plain = f"--config.{path}={value}"
        if isinstance(current, tuple) and plain in argv:
            items = tuple(item.strip() for item in value.split(",") if item.strip())
            argv = [f"--config.{path}={items!r}" if a == plain else a for a in argv]
    return argv
