"""Small helpers the commands share."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.errors import ConfigError, DataError


def required(values: flags.FlagValues, name: str, example: str) -> str:
    """The value of flag `name`.

    Raises:
        ConfigError: it was not given.
    """
    value = values[name].value
    if value in (None, "", []):
        raise ConfigError(
            f"--{name} is missing", expected=f"--{name}={example}", fix=f"add --{name}={example}"
        )
    return value


def existing_file(path: str | Path, what: str) -> Path:
    """`path` as a Path.

    Raises:
        DataError: there is no such file.
    """
    if not Path(path).is_file():
        raise DataError(
            f"there is no {what} {str(path)!r}",
            where=str(Path(path).absolute()),
            expected="a file that can be read",
        )
    return Path(path)
