"""Instructions per task in English and Chinese, one YAML file each, and the seeded choice of one.

A template is chosen when a record is loaded; records keep raw text. No record is read here."""

from __future__ import annotations

import functools
import hashlib
import string
from importlib import resources

import yaml

from zv_jax.errors import DataError


@functools.cache
def templates(task: str, lang: str) -> tuple[str, ...]:
    """The instructions of a task in `en` or `zh`, that for evaluation first; () if none exist."""
    if not task.isidentifier():  # it is the name of a file
        return ()
    file = resources.files(__name__) / f"{task}.yaml"
    if not file.is_file():
        return ()
    return tuple(yaml.safe_load(file.read_text(encoding="utf-8"))[lang])


@functools.cache
def fields(task: str, lang: str) -> frozenset[str]:
    """The fields that the instructions of a task fill in; `en-zh` takes the Chinese ones."""
    options = templates(task, "en" if lang == "en" else "zh")
    parsed = (part for text in options for part in string.Formatter().parse(text))
    return frozenset(name for _, name, _, _ in parsed if name)


def seeded(seed: int, identity: str, epoch: int, purpose: str) -> int:
    """A 32-bit number that depends on nothing but the arguments, equal on every machine."""
    key = f"{seed}\x1f{purpose}\x1f{identity}\x1f{epoch}".encode()
    return int.from_bytes(hashlib.blake2b(key, digest_size=4).digest(), "big")


def template_id(task: str, lang: str, choice: int | None) -> str:
    """`task/lang/number` of the instruction that `instruction` takes for the same arguments."""
    own = "en" if lang == "en" else "zh"
    return f"{task}/{own}/{(choice or 0) % len(templates(task, own))}"


def instruction(task: str, lang: str, where: str, choice: int | None, **values: str) -> str:
    """One instruction with its fields filled in.

    Args:
      task, lang: which list; `en-zh` takes the Chinese one.
      where: the record's id, for the error.
      choice: any whole number, reduced to the length of the list; None is the evaluation prompt.
      values: texts for `{q}`, `{expr}`, `{box}`, `{choices}`, `{text}`.

    Raises:
      DataError: the task has no templates, or the record lacks what they need.
    """
    options = templates(task, "en" if lang == "en" else "zh")
    if not options:
        raise DataError(
            f"a {task} record without an instruction",
            where=where,
            expected="a user turn before the assistant's",
            fix="give the record a user turn; this task has no templates",
        )
    try:
        return options[(choice or 0) % len(options)].format(**values)
    except KeyError as error:
        raise DataError(
            f"a {task} record lacks what its instruction needs: {error}",
            where=where,
            expected="a user turn, or an object the text speaks of",
            fix="give the record a user turn",
        ) from None
