"""Errors people can act on: what happened, where, what was expected and how to mend it.

The command line prints ``str(error)`` and no traceback unless ``--debug`` is given, so the text
must be complete by itself.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable


class ZvError(Exception):
    """Base of every error this package raises on purpose.

    Attributes:
      what: one sentence, what is wrong.
      where: the file, line, field, leaf or address it was found at.
      expected: what would have been right.
      fix: the next thing to do, as a command where there is one.
      exit_code: of a program that ends with it: 2 where its input is to be mended, else 1.
    """

    exit_code = 1

    def __init__(
        self,
        what: str,
        where: str | None = None,
        expected: str | None = None,
        fix: str | None = None,
    ):
        super().__init__(_whole(what))
        self.what = _whole(what)
        self.where = where and _whole(where)
        self.expected = expected and _whole(expected)
        self.fix = fix and _whole(fix)

    def __str__(self) -> str:
        lines = [self.what]
        for name in ("where", "expected", "fix"):
            value = getattr(self, name)
            if value:
                first, *rest = str(value).splitlines()
                lines.append(f"  {name + ':':<10}{first}")
                lines.extend(" " * 12 + line for line in rest)
        return "\n".join(lines)

    def __reduce__(self):
        # Exception pickles only its args; worker processes must hand back all four fields.
        return type(self), (self.what, self.where, self.expected, self.fix)


def _whole(text: str) -> str:
    """`text` with halves of surrogate pairs as `\\ud800`: errors quote files, and are written."""
    text = str(text)
    return text if text.isascii() else text.encode("utf-8", "backslashreplace").decode()


class ConfigError(ZvError):
    """A recipe, flag or override is wrong."""

    exit_code = 2


class DataError(ZvError):
    """A record, image, shard or annotation file is wrong or missing."""

    exit_code = 2


class TrainingError(ZvError):
    """The numbers of a run, or one of its processes, went wrong."""


class CheckpointError(ZvError):
    """A checkpoint cannot be written, found, read or matched to the model."""

    exit_code = 2


class ConversionError(ZvError):
    """A foreign checkpoint does not map one to one onto our parameters."""

    exit_code = 2


class ServerError(ZvError):
    """A request to the server, or the server itself, is wrong."""


class SetupError(ZvError):
    """A package, device, driver or disk this program needs is missing or unsuitable."""


def nearest(name: object, valid: Iterable[str]) -> str:
    """Returns ``"; did you mean 'x'?"`` for the valid name closest to ``name``, or ``""``."""
    close = difflib.get_close_matches(str(name), list(valid), n=1, cutoff=0.5)
    return f"; did you mean {close[0]!r}?" if close else ""


def unknown_name(
    kind: str,
    value: object,
    valid: Iterable[str],
    where: str | None = None,
    *,
    fix: str | None = None,
    error: type[ZvError] = ConfigError,
) -> ZvError:
    """The error for a name that is not among `valid`: it shows the closest one, and all.

    Args:
      kind: what the name should be of, as in "unknown recipe".
      value: the name that was given.
      valid: the names there are.
      where: the field, flag or file it was found at.
      fix: the next thing to do, where there is more to say than "write one of these".
      error: the class of the error.
    """
    valid = list(valid)
    return error(
        f"unknown {kind} {str(value)[:200]!r}{nearest(value, valid)}",
        where=where,
        expected="one of " + ", ".join(valid),
        fix=fix,
    )


def hub_fix(path: object, otherwise: str) -> str:
    """How to mend a missing model: where `path` may be its name on a hub, by getting it."""
    name = str(path)
    if re.fullmatch(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*", name):
        folder = name.rpartition("/")[2]
        return (
            f"give a folder: names of a hub are not downloaded. If {name} is one: "
            f"hf download {name} --local-dir {folder}, then {folder}; otherwise {otherwise}"
        )
    return otherwise
