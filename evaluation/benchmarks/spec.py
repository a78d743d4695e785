"""What a benchmark is: one small file with everything its number depends on."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from typing import Any

import yaml

from zv_jax.errors import unknown_name
from zv_jax.evaluation.benchmarks import files

KINDS = ("caption", "vqa", "gqa", "choice", "retrieval", "judged")
CLEANING = ("first_line", "final_period", "lower")


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Attributes:
      name: of its file in `files/`; version: of that file's recipe.
      dataset, split, lang: what is read (`zv_jax.data.public.catalogue`); expected: how many items
        the published split has.
      kind: how answers are asked for and scored, one of `KINDS`.
      prompt: with ``{question}``, ``{context}`` and ``{options}``.
      decoding: arguments of `Words.generate`.
      clean: what is done to an answer before it is scored, in order.
      protocol: of the metric; target: for `choice`, what is ranked: the ``text`` of the options,
        which is what training teaches, or their ``letter``.
      server: its answers are secret, so predictions become a file for a server (`submission`).
      table, columns: where its metrics stand in the paper.
      recipe: hash of the file, part of every score's protocol.
    """

    name: str
    version: int
    title: str
    dataset: str
    split: str
    lang: str
    expected: int
    kind: str
    protocol: str
    recipe: str
    prompt: str = ""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    clean: tuple[str, ...] = ()
    target: str = "text"
    server: bool = False
    submission: str = ""
    table: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)

    def describe(self, metric: str) -> str:
        """All that another number under the same name could differ in, in one line."""
        decoding = ",".join(f"{k}={v}" for k, v in sorted(self.decoding.items())) or "greedy"
        return (
            f"{self.name}|v{self.version}:{self.recipe}|{self.dataset}/{self.split}|"
            f"prompt={self.prompt!r}|{decoding}|clean={'+'.join(self.clean) or 'strip'}|{metric}"
        )


@functools.cache
def names() -> tuple[str, ...]:
    """All benchmarks, in the order of the alphabet."""
    found = (entry.name for entry in resources.files(files).iterdir())
    return tuple(sorted(name[:-5] for name in found if name.endswith(".yaml")))


@functools.cache
def load(name: str) -> Benchmark:
    """The benchmark of a name.

    Raises:
      ConfigError: there is none.
    """
    if name not in names():
        raise unknown_name("benchmark", name, names(), "benchmarks")
    data = resources.files(files).joinpath(f"{name}.yaml").read_bytes()
    values = yaml.safe_load(data)
    values["clean"] = tuple(values.get("clean", ()))
    recipe = hashlib.sha256(data).hexdigest()[:8]
    return Benchmark(name=name, recipe=recipe, **values)


def clean(text: str, steps: tuple[str, ...]) -> str:
    """An answer after the named steps; spaces around it always go."""
    text = text.strip()
    for step in steps:
        if step == "first_line":
            text = text.partition("\n")[0].strip()
        elif step == "final_period":
            text = text.rstrip(".。").strip()
        elif step == "lower":
            text = text.lower()
    return text
