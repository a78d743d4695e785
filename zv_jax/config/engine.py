"""From plain values to frozen, fully checked dataclasses, and back: of runs, suites and sweeps.

Every field exists in the `ConfigDict` that `Engine.config_dict` makes, so that the command line can
override any; `Engine.build` turns the result into the dataclass, or says which field is wrong.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_collections

from zv_jax.errors import ConfigError

_KINDS = {"str": "text", "int": "a whole number", "float": "a number", "bool": "true or false"}


@dataclass(frozen=True)
class Engine:
    """What builds one kind of configuration.

    Attributes:
        kind: the frozen dataclass; its fields are numbers, texts, tuples, tables of numbers by
            name, and dataclasses of such.
        flag: of the command line: `--flag.field=value`.
        prefix: of the names of fields in errors.
        choices: dotted name of a text, or of a tuple of texts -> the valid ones.
        positive: dotted names of numbers above 0; natural: of numbers of at least 0. What holds of
            a table holds of each of its numbers.
        retired: fields of earlier versions, which are left out -> what became of them.
        start: what makes a dictionary with every field.
    """

    kind: type
    flag: str
    prefix: str = ""
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    positive: Sequence[str] = ()
    natural: Sequence[str] = ()
    retired: Mapping[str, str] = field(default_factory=dict)
    start: str = ""

    def config_dict(self, defaults: Any, sections: Mapping[str, Any]) -> ml_collections.ConfigDict:
        """The fields of the dataclass `defaults`, and `sections` over them, as one ConfigDict.

        Raises:
            ConfigError: an unknown field.
        """
        values = plain(defaults)
        self._merge(values, sections, "")
        return ml_collections.ConfigDict(values, convert_dict=True)

    def build(self, config: ml_collections.ConfigDict | Mapping[str, Any]) -> Any:
        """The frozen dataclass; fields that are `retired` are left out.

        Raises:
            ConfigError: an unknown field, a wrong type or a value out of range; it names the field,
                the value, what was expected and the nearest valid name.
        """
        values = config.to_dict() if isinstance(config, ml_collections.ConfigDict) else dict(config)
        built = self._build(self.kind, values, "")
        self.check(built)
        return built

    def check(self, built: Any) -> None:
        """Checks the values of a dataclass whose types are right.

        Raises:
            ConfigError: one is not among the `choices`, or out of range.
        """
        for path, valid in self.choices.items():
            given = _get(built, path)
            for value in given if isinstance(given, tuple) else (given,):
                if value not in valid:
                    raise self._no_choice(path, value, valid, isinstance(given, tuple))
        for paths, least, expected in (
            (self.positive, "above 0", "a number above 0"),
            (self.natural, "at least 0", "a whole number of at least 0"),
        ):
            for path in paths:
                given = _get(built, path)
                table = isinstance(given, Mapping)
                for name, value in given.items() if table else [(path, given)]:
                    if value < 0 or (value == 0 and least == "above 0"):
                        name = f"{path}.{name}" if table else path
                        raise self._wrong(name, f"{value!r} is not valid", expected)

    def _merge(self, values: dict, given: Mapping[str, Any], path: str) -> None:
        for name, value in given.items():
            if name not in values:
                raise self._unknown(path + name, [path + known for known in values])
            if isinstance(value, dict) and isinstance(values[name], dict):
                self._merge(values[name], value, f"{path}{name}.")
            else:
                values[name] = value

    def _build(self, kind: type, values: Any, path: str) -> Any:
        if not isinstance(values, Mapping | ml_collections.ConfigDict):
            raise ConfigError(
                f"{values!r} is not a section",
                where=self.prefix + path if path else self.flag,
                expected=f"the fields of {kind.__name__}",
                fix="give a dictionary",
            )
        hints = typing.get_type_hints(kind)
        dotted = f"{path}." if path else ""
        values = {key: value for key, value in values.items() if dotted + key not in self.retired}
        for key in values:
            if key not in hints:
                raise self._unknown(dotted + key, [dotted + name for name in hints])
        built = {}
        for part in dataclasses.fields(kind):
            if part.name in values:
                name = dotted + part.name
                built[part.name] = self._convert(hints[part.name], values[part.name], name, part)
            elif part.default is part.default_factory is dataclasses.MISSING:
                raise ConfigError(
                    "this part of the configuration is missing",
                    where=self.prefix + dotted + part.name,
                    expected=f"the fields of {kind.__name__}",
                    fix=f"begin with {self.start}, which has every field",
                )
        return kind(**built)

    def _convert(self, kind: Any, value: Any, path: str, part: dataclasses.Field) -> Any:
        if dataclasses.is_dataclass(kind):
            return self._build(kind, value, path)
        if typing.get_origin(kind) is collections.abc.Mapping:
            return self._table(value, path, part)
        if typing.get_origin(kind) in (tuple, types.GenericAlias):
            if isinstance(value, str):
                value = tuple(filter(None, map(str.strip, value.split(","))))
            if not isinstance(value, tuple | list):
                raise self._mistyped(path, value, "a list")
            inner = typing.get_args(kind)[0]
            rows = enumerate(value)
            return tuple(self._convert(inner, v, f"{path}[{i}]", part) for i, v in rows)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise self._mistyped(path, value, _KINDS[kind.__name__])
        return value

    def _table(self, value: Any, path: str, part: dataclasses.Field) -> dict[str, int]:
        """Whole numbers by name, those that are not given as they are by default."""
        known = part.default_factory()
        if not isinstance(value, Mapping | ml_collections.ConfigDict):
            raise self._mistyped(path, value, "a section with " + ", ".join(known))
        for name, number in value.items():
            if name not in known:
                raise self._unknown(f"{path}.{name}", [f"{path}.{key}" for key in known])
            self._convert(int, number, f"{path}.{name}", part)
        return known | dict(value)

    def _no_choice(self, path: str, value: Any, valid: Sequence[str], several: bool) -> ConfigError:
        near = difflib.get_close_matches(str(value), valid, 1)
        hint = f"set --{self.flag}.{path}={valid[0]}"
        return ConfigError(
            f"{value!r} is not valid",
            where=self.prefix + path,
            expected=f"{'any' if several else 'one'} of " + ", ".join(valid),
            fix=f"did you mean {near[0]!r}?" if near else hint,
        )

    def _unknown(self, path: str, known: list[str]) -> ConfigError:
        near = difflib.get_close_matches(path, known, 1, 0.4)
        retired = path in self.retired
        return ConfigError(
            "this field no longer exists" if retired else "unknown configuration field",
            where=self.prefix + path,
            expected="one of " + ", ".join(known),
            fix=self.retired[path]
            if retired
            else f"did you mean {near[0]!r}?"
            if near
            else "remove it",
        )

    def _mistyped(self, path: str, value: Any, expected: str) -> ConfigError:
        return ConfigError(
            f"{value!r} is a {type(value).__name__}",
            where=self.prefix + path,
            expected=expected,
            fix=f"set --{self.flag}.{path}={expected.split()[-1].upper()}",
        )

    def _wrong(self, path: str, what: str, expected: str) -> ConfigError:
        fix = f"set --{self.flag}.{path}=..."
        return ConfigError(what, where=self.prefix + path, expected=expected, fix=fix)


def plain(value: Any) -> Any:
    """A dataclass, and those in it, as dictionaries; everything else as it is."""
    if dataclasses.is_dataclass(value):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return value


def _get(config: Any, path: str) -> Any:
    for part in path.split("."):
        config = getattr(config, part)
    return config
