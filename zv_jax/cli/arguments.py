"""Small helpers the commands share."""

from __future__ import annotations

from pathlib import Path

from absl import flags

from zv_jax.buckets import is_bucket
from zv_jax.errors import ConfigError, DataError


def required(
    values: flags.FlagValues, name: str, example: str, *, bucket: bool = False, flag: str = ""
) -> str:
    """The value of flag `name`.

    Args:
        bucket: whether a folder may be one of a bucket, as gs://bucket/run.
        flag: how the flag is typed, where that is not its name.

    Raises:
        ConfigError: it was not given, or is a bucket where only folders of this machine do.
    """
    value = values[name].value
    if value in (None, "", []):
        raise ConfigError(
            f"--{flag or name} is missing",
            expected=f"--{flag or name}={example}",
            fix=f"add --{flag or name}={example}",
        )
    if name in ("workdir", "out") and is_bucket(value) and not bucket:
        raise ConfigError(
            f"this command writes into no bucket: {value}",
            where=f"--{name}",
            expected="a folder of this machine; zv train and zv eval take gs://bucket/folder",
            fix="mount the bucket (gcsfuse BUCKET /gcs) and give the folder there",
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
