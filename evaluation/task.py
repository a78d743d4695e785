"""What a task is: one small file with everything that its numbers depend on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import yaml

from zv_jax import yaml_input
from zv_jax.data.records.record import LANGS
from zv_jax.data.records.record import TASKS as RECORDS
from zv_jax.errors import ConfigError, unknown_name
from zv_jax.evaluation import tasks

KINDS = ("text", "choice", "retrieval", "judged")
CLEANING = ("first_line", "final_period", "lower")
CONTROLS = ("untrained", "shuffled_images", "most_frequent", "chance")


@dataclass(frozen=True)
class Task:
    """One task, whether its records are public or of the embedded data set.

    Attributes:
      name: of its file in `tasks/`; version: of that file's recipe.
      dataset, split, langs: what is read. expected: how many records the published split of a
        public data set has (`zv_jax.data.public.catalogue`); 0 where `dataset` is the name of a
        source (`zv_jax.data.sources`), of whose records those of task `records` are taken.
      records: also the task of the embedded records that stand in for public ones.
      train_split: where the most frequent answers are counted; none: they are not.
      kind: how answers are asked for, one of `KINDS`: ``text`` is generated, the options of
        ``choice`` are ranked, ``retrieval`` compares embeddings, ``judged`` is text that a
        language model judges afterwards.
      prompt: with ``{question}``, ``{context}`` and ``{options}``; empty: as the record asks.
      decoding: arguments of `Model.answer`.
      clean: what is done to an answer before it is scored, in order.
      metrics: names of `score.SCORERS`, the headline first; of retrieval ``itc`` and ``itm``.
      protocol: of VQA accuracy. target: what a ``choice`` ranks: the ``text`` of the options, which
        is what training teaches, or their ``letter``.
      captions: of retrieval: ``all`` of an image, or the ``first``, equal ones being one target;
        ks: of its recalls.
      controls: those that mean something here, of `CONTROLS`.
      stages: which teach it. Without a list of tasks, a checkpoint's own are evaluated, by `place`.
      server: its answers are secret, so predictions become a file for a server (`submission`).
      table, columns: where its metrics stand in the paper.
      recipe: hash of the file, part of every score's protocol.
    """

    name: str
    version: int
    title: str
    dataset: str
    split: str
    langs: tuple[str, ...]
    kind: str
    records: str
    recipe: str
    expected: int = 0
    train_split: str = ""
    prompt: str = ""
    decoding: Mapping[str, Any] = field(default_factory=dict)
    clean: tuple[str, ...] = ()
    metrics: tuple[str, ...] = ()
    protocol: str = ""
    target: str = "text"
    captions: str = "all"
    ks: tuple[int, ...] = (1, 5, 10)
    controls: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    place: int = 0
    server: bool = False
    submission: str = ""
    table: int = 0
    columns: Mapping[str, str] = field(default_factory=dict)

    def describe(self, metric: str) -> str:
        """All that another number under the same name could differ in, in one line."""
        asked = ""
        if self.kind != "retrieval":
            decoding = ",".join(f"{k}={v}" for k, v in sorted(self.decoding.items())) or "greedy"
            prompt = repr(self.prompt) if self.prompt else "record"
            asked = f"prompt={prompt}|{decoding}|clean={'+'.join(self.clean) or 'strip'}|"
        where = f"{self.dataset}/{self.split}"
        return f"{self.name}|v{self.version}:{self.recipe}|{where}|{asked}{metric}"

    def no_longer(self, tokens: int) -> Task:
        """The same task with answers of `tokens` tokens instead of its own; 0 changes nothing."""
        if not tokens or not self.decoding:
            return self
        decoding = dict(self.decoding) | {"max_new_tokens": tokens}
        if "min_new_tokens" in decoding:
            decoding["min_new_tokens"] = min(decoding["min_new_tokens"], tokens - 1)
        return dataclasses.replace(self, decoding=decoding)


@functools.cache
def names() -> tuple[str, ...]:
    """All tasks, in the order of the alphabet."""
    found = (entry.name for entry in resources.files(tasks).iterdir())
    return tuple(sorted(name[:-5] for name in found if name.endswith(".yaml")))


@functools.cache
def load(name: str) -> Task:
    """The task of a name.

    Raises:
      ConfigError: there is none, or its file has an unknown field.
    """
    if name not in names():
        raise unknown_name("task", name, names(), "tasks")
    data = resources.files(tasks).joinpath(f"{name}.yaml").read_bytes()
    return _task(name, data, yaml.safe_load(data), f"{name}.yaml")


def read(file: Path) -> Task:
    """A task of one's own, for records of one's own; its name is that of its file.

    Version, title, split and `dataset`, a source, may be left out.

    Raises:
      ConfigError: the file cannot be read, or a field is unknown, missing or has a wrong value.
    """
    try:
        data = file.read_bytes()
        values = yaml_input.loads(data)
        if not isinstance(values, dict):
            raise ValueError("no table of fields")
    except (OSError, ValueError) as error:
        raise ConfigError(
            f"the task cannot be read: {error}",
            where=str(file),
            expected="YAML such as evaluation/tasks/vqa.yaml",
        ) from None
    defaults = {"version": 1, "title": file.stem, "dataset": "jsonl", "split": "", "kind": "text"}
    values = defaults | values
    legal = {"langs": LANGS, "records": RECORDS, "metrics": None}
    for key, choices in legal.items():
        given = values.get(key)
        listed = given if isinstance(given, list) else [given]
        if not given or (key != "records" and not isinstance(given, list)):
            raise ConfigError(
                f"{key} is missing" if not given else f"{given!r} is no list",
                where=f"{file}, field {key}",
                expected="one of " + ", ".join(choices)
                if choices
                else "a list, such as [exact_match]",
            )
        for word in listed if choices else ():
            if word not in choices:
                raise unknown_name(key, word, choices, f"{file}, field {key}")
    return _task(file.stem, data, values, str(file))


def _task(name: str, data: bytes, values: Mapping[str, Any], where: str) -> Task:
    """The task of the fields of a file; `data` is that file, which gives the hash."""
    known = [part.name for part in dataclasses.fields(Task)]
    for key in values:
        if key not in known:
            raise unknown_name("field", key, known, where, fix="rename or remove it")
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in values.items()}
    return Task(name=name, recipe=hashlib.sha256(data).hexdigest()[:8], **values)


def embedded() -> tuple[str, ...]:
    """Names of the tasks of the embedded data set, in their order."""
    found = [load(name) for name in names() if not load(name).expected]
    return tuple(task.name for task in sorted(found, key=lambda task: task.place))


def taught_by(stage: str, field: str) -> tuple[str, ...]:
    """Names of the embedded tasks that a stage trains a model for; `field` lists tasks otherwise.

    Raises:
      ConfigError: there is none.
    """
    found = tuple(name for name in embedded() if stage in load(name).stages)
    if not found:
        raise ConfigError(
            f"no task fits a checkpoint of stage {stage!r}",
            where=field,
            expected="a stage with tasks, or a list of tasks",
            fix=f"set --{field}=caption,vqa",
        )
    return found


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
