"""What several subcommands of `zv convert` share: their two paths, and flags of those that read."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from absl import flags

from zv_jax.errors import ConfigError, unknown_name
from zv_jax.parallel import runtime

if TYPE_CHECKING:
    from zv_jax.convert import reader


def define_dtype(values: flags.FlagValues) -> None:
    """The flag --dtype."""
    flags.DEFINE_string(
        "dtype", None, "of all tensors: float32, bfloat16 or float16", flag_values=values
    )


def define_reading(values: flags.FlagValues) -> None:
    """Flags of every subcommand that reads a checkpoint of others."""
    define_dtype(values)
    flags.DEFINE_multi_string(
        "allow", [], "pattern of tensors that may be missing or too many", flag_values=values
    )
    flags.DEFINE_string(
        "tokenizer", None, "where SRC has none: file or directory", flag_values=values
    )
    flags.DEFINE_string(
        "prompt_format", None, "of SRC: ziya, vicuna, llama2, plain or chatml", flag_values=values
    )


def define_towers(values: flags.FlagValues) -> None:
    """Flags of those that read several towers, and the language model from elsewhere."""
    define_image_size(values)
    flags.DEFINE_string(
        "llm", None, "directory of the language model of a split SRC", flag_values=values
    )
    flags.DEFINE_string(
        "qformer_tokenizer", None, "as --tokenizer, for the Q-Former", flag_values=values
    )


def define_image_size(values: flags.FlagValues) -> None:
    """The flag --image_size."""
    flags.DEFINE_integer(
        "image_size", None, "resize the position table, pixels", 1, flag_values=values
    )


def start(
    command: str, values: flags.FlagValues, words: list[str], expected: str, count: int = 2
) -> tuple[str, ...]:
    """Checks what every subcommand takes and prepares the machine; the `count` paths.

    Raises:
        ConfigError: there are not so many paths, or the dtype is unknown.
    """
    if len(words) != count:
        paths = {1: "one path", 2: "two paths"}[count]
        raise ConfigError(
            f"zv convert {command} needs {paths}, not {len(words)}",
            where=" ".join(["zv convert", command, *words]),
            expected=expected,
            fix=f"zv convert {command} --help",
        )
    if "dtype" in values:
        _check_dtype(values.dtype)
    runtime.prepare()
    return tuple(words)


def _check_dtype(dtype: str | None) -> None:
    from zv_jax.models.presets import DTYPES

    if dtype is not None and dtype not in DTYPES:
        raise unknown_name("dtype", dtype, DTYPES, "--dtype")


def options(values: flags.FlagValues) -> reader.Options:
    """The flags of `define_reading` and, where the subcommand has them, the others that read."""
    from zv_jax.convert import reader

    names = [field.name for field in dataclasses.fields(reader.Options) if field.name in values]
    given = {name: values[name].value for name in names}
    return reader.Options(**given | {"allow": tuple(values.allow)})


def report(text: str, out: str) -> None:
    """Says what was taken and where it was written."""
    print(text)
    print(f"written: {out}")
