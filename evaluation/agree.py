"""Does a model say the same in both languages? One question, asked twice; answers compared by rule.

No truth is needed: two records are one question where their ids differ in the language only
(`a/val/1#en-vqa-what` and `a/val/1#zh-vqa-what`), or where one is the translation of the other
(`meta["original"]`). A score is a pure function of questions and predictions.
"""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from zv_jax.data.records.record import Record
from zv_jax.errors import ConfigError, DataError
from zv_jax.evaluation import config as config_lib
from zv_jax.evaluation import part as part_lib
from zv_jax.evaluation import predictions as predictions_lib
from zv_jax.evaluation import run as run_lib
from zv_jax.evaluation.config import LANGS, SuiteConfig
from zv_jax.evaluation.data import Sources
from zv_jax.evaluation.metrics import agreement, exact_match, grounding
from zv_jax.evaluation.metrics.agreement import SameNames
from zv_jax.evaluation.part import Part
from zv_jax.evaluation.predict import BOX_DECIMALS, Finder, Item, question
from zv_jax.evaluation.predictions import Prediction
from zv_jax.evaluation.results import Measure, entry, named
from zv_jax.evaluation.task import Task
from zv_jax.evaluation.task import load as load_task

RECORDS = ("vqa", "mc_vqa", "ref_ground", "ref_caption")
"""Tasks of records whose answers are short enough to be compared by rule."""
SHIFTS = 20  # other questions that each answer is paired with, for chance


@dataclass(frozen=True)
class Question:
    """One question in both languages.

    Attributes:
      key: what the ids of its records have in common; task: that of the English record.
      kind: how answers are compared, one of `agreement.KINDS`.
      items: the English and the Chinese one; image: finds their images.
    """

    key: str
    task: str
    kind: str
    items: tuple[Item, Item]
    image: Finder

    def read(self, said: Sequence[Prediction]) -> tuple[agreement.Read, agreement.Read]:
        """Both answers as they are compared."""
        return tuple(map(self._read, self.items, said, LANGS))  # type: ignore[return-value]

    def _read(self, item: Item, said: Prediction, lang: str) -> agreement.Read:
        if self.kind == "choice" and said.choice is not None:
            return said.choice
        return agreement.read(self.kind, said.text, lang, item.record.choices or ())


@dataclass(frozen=True)
class Answered:
    """A question with its answers; `same` is None where one of them cannot be read."""

    question: Question
    said: tuple[Prediction, Prediction]
    read: tuple[agreement.Read, agreement.Read]
    same: bool | None


@dataclass(frozen=True)
class Agreement:
    """What `score` returns: entries as of results.json, the whole first, every question, and what
    is known of the model."""

    scores: tuple[dict[str, Any], ...]
    answered: tuple[Answered, ...]
    of: Mapping[str, Any] = field(default_factory=dict)

    @property
    def disagreements(self) -> list[Answered]:
        """Questions whose answers differ, then those with an answer that cannot be read."""
        differ = [one for one in self.answered if one.same is False]
        return differ + [one for one in self.answered if one.same is None]


def key_of(record: Record) -> str:
    """What a record shares with the same question in the other language."""
    original = record.meta.get("original")
    return str(original) if original else record.id.replace(f"#{record.lang}-", "#", 1)


def questions(parts: Sequence[Part]) -> list[Question]:
    """The questions that the parts ask in both languages, in the order of the English ones.

    Raises:
      ConfigError: a task has no answers that can be compared.
      DataError: no question is there in both languages.
    """
    held: dict[str, dict[str, tuple[Part, Item]]] = defaultdict(dict)
    for part in parts:
        _check(part.task)
        for item in part.items(BOX_DECIMALS):
            held[key_of(item.record)][item.record.lang] = part, item
    found = []
    for key, sides in held.items():
        if sides.keys() >= set(LANGS):
            (part, english), (_, chinese) = (sides[lang] for lang in LANGS)
            kind = _kind(english, chinese)
            image = part.data.image
            found.append(Question(key, part.task.name, kind, (english, chinese), image))
    if not found:
        raise DataError(
            f"none of {len(held)} questions is there in English and in Chinese",
            where=", ".join(dict.fromkeys(f"{p.task.name} {p.lang}" for p in parts)),
            expected="ids that differ in #en- and #zh- only, or translations with meta.original",
            fix="evaluate tasks of the embedded data set, or a set together with its translation",
        )
    return found


def _check(task: Task) -> None:
    if task.kind in ("text", "choice") and task.records in RECORDS:
        return
    raise ConfigError(
        f"answers of {task.name!r} cannot be compared by rule",
        where="suite.tasks",
        expected="tasks with short answers: of records " + ", ".join(RECORDS),
        fix="--suite.tasks=vqa,grounding",
    )


def _kind(english: Item, chinese: Item) -> str:
    offered = [len(item.record.choices or ()) for item in (english, chinese)]
    options = offered[0] if offered[0] == offered[1] else 0
    asked = question(english.record)
    return agreement.kind_of(asked, english.references[-1], "en", options)


def score(
    asked: Sequence[Question],
    predictions: Mapping[str, Prediction],
    same_names: SameNames,
    expected: int = 0,
    seed: int = 0,
) -> Agreement:
    """Compares the answers to every question.

    Agreement is the share of questions whose answers say the same; an answer that cannot be read
    agrees with nothing and is counted. Its interval draws images, since questions about one image
    are not independent. Chance is the agreement of each English answer with Chinese answers to
    other questions of the same type about other images.

    Args:
      predictions: by record id, of both languages.
      same_names: compares names. expected: questions of the whole split; of a part of them the
        metric ends in @n. seed: of draws and pairings.

    Raises:
      DataError: a record has no prediction.
    """
    answered = [_answered(one, predictions, same_names) for one in asked]
    chance = _chance(answered, same_names, seed)
    kinds = [kind for kind in agreement.KINDS if any(one.kind == kind for one in asked)]
    scores = []
    for kind in ("", *kinds):
        rows = [n for n, one in enumerate(asked) if kind in ("", one.kind)]
        scores.append(_entry(kind, rows, answered, chance, expected, seed))
    return Agreement(tuple(scores), tuple(answered))


def _answered(
    one: Question, predictions: Mapping[str, Prediction], same_names: SameNames
) -> Answered:
    missing = [item.id for item in one.items if item.id not in predictions]
    if missing:
        raise DataError(
            "a question has no prediction",
            where=f"id {missing[0]!r}",
            expected="a prediction for it in both languages",
        )
    english, chinese = (predictions[item.id] for item in one.items)
    read = one.read((english, chinese))
    return Answered(one, (english, chinese), read, agreement.same(one.kind, *read, same_names))


def _chance(answered: Sequence[Answered], same_names: SameNames, seed: int) -> list[float | None]:
    """For each question how often its English answer agrees with those to others; None where
    there is no other of its kind and type about another image."""
    alike: dict[tuple[str, str, str], list[int]] = defaultdict(list)
    for n, one in enumerate(answered):
        first = one.question.items[0]
        alike[one.question.task, one.question.kind, first.group].append(n)
    found: list[float | None] = [None] * len(answered)
    for numbers in alike.values():
        order = np.random.default_rng(seed).permutation(numbers)
        for place, n in enumerate(order):
            one = answered[n]
            others = (answered[m] for m in np.roll(order, -place)[1 : SHIFTS + 1])
            hits = [
                agreement.same(one.question.kind, one.read[0], other.read[1], same_names) is True
                for other in others
                if other.question.items[0].images != one.question.items[0].images
            ]
            found[n] = float(np.mean(hits)) if hits else None
    return found


def _entry(
    kind: str,
    rows: Sequence[int],
    answered: Sequence[Answered],
    chance: Sequence[float | None],
    expected: int,
    seed: int,
) -> dict[str, Any]:
    """The entry of all questions, or of those of one kind."""
    some = [answered[n] for n in rows]
    images: dict[Any, int] = {}
    owners = [images.setdefault(one.question.items[0].images, len(images)) for one in some]
    values = 100.0 * np.array([one.same is True for one in some], np.float64)
    unreadable = sum(one.same is None for one in some)
    metric = f"agreement_{kind}" if kind else "agreement"
    measure = Measure(metric, values, np.array(owners), agreement.PROTOCOL, unreadable)
    paired = [100.0 * chance[n] for n in rows if chance[n] is not None]  # type: ignore[operator]
    whole = len(answered)
    return entry(
        "+".join(dict.fromkeys(one.question.task for one in some)),
        "en-zh",
        named(measure, whole, max(expected, whole)),
        protocol=f"{agreement.PROTOCOL}|chance={SHIFTS} other questions of one type",
        expected=max(expected, whole) if not kind else len(rows),
        ids=[one.question.key for one in some],
        controls={"chance": float(np.mean(paired)) if paired else None},
        control_n={"chance": len(paired)},
        seed=seed,
    )


def right(one: Answered) -> tuple[bool | None, bool | None]:
    """Whether each answer is right; None where the truth is not known."""
    return tuple(map(_right, [one.question] * 2, one.question.items, one.said, one.read))  # type: ignore[return-value]


def _right(of: Question, item: Item, said: Prediction, read: agreement.Read) -> bool | None:
    truths, lang = item.references[-1], item.record.lang
    if not any(truths):
        return None
    if of.kind == "choice":
        return read == item.record.answer_index
    if of.kind == "box":
        true = grounding.parse_box(truths[0])
        return true is not None and grounding.hit(read, true)  # type: ignore[arg-type]
    if of.kind in ("yes_no", "count"):
        return read is not None and read == agreement.read(of.kind, truths[0], lang)
    return exact_match.matches(said.text, truths, lang, lenient=True)


# A run: the suite is evaluated as `zv eval` does, then its predictions are compared.


def run(
    checkpoint: str | Path,
    suite_config: Mapping[str, Any],
    workdir: str | Path,
    same_names: SameNames,
    progress: bool = True,
    load: Callable[..., Any] | None = None,
) -> Agreement:
    """Asks a checkpoint every question of a suite in both languages and compares the answers.

    What the workdir holds already is not asked again: it may be that of an earlier `zv eval`.

    Args: as of `zv_jax.evaluation.run.run`; same_names: compares names.

    Raises:
      ConfigError: a task cannot be compared, or one language is missing; and as `run.run` does.
    """
    suite = _both(config_lib.validate(suite_config))
    found = run_lib.answers(checkpoint, suite, workdir, progress, load)
    expected = _whole(found.parts)
    compared = score(questions(found.parts), found.predictions, same_names, expected, suite.seed)
    return dataclasses.replace(compared, of=found.facts)


def from_files(
    files: Sequence[str | Path], suite_config: Mapping[str, Any], same_names: SameNames
) -> Agreement:
    """Compares predictions made elsewhere: lines of `predictions.SCHEMA`, in one file or several.

    The limits of the suite do not count; questions without an answer in both languages are left
    out, and the metric then ends in @n.

    Raises:
      ConfigError, DataError: as `run` does; a line is wrong, or no question has both answers.
    """
    suite = _both(config_lib.validate(suite_config))
    limits = dict.fromkeys(suite.limits, 0)
    parts = _parts(dataclasses.replace(suite, limit=0, limits=limits))
    records = [record for part in parts for record in part.data.records]
    predictions: dict[str, Prediction] = {}
    for file in files:
        found = predictions_lib.read(Path(file), records)
        twice = sorted(found.keys() & predictions.keys())
        if twice:
            raise DataError(
                f"id {twice[0]!r} is in several files",
                where=str(file),
                expected="one prediction for each record",
            )
        predictions |= found
    asked = questions(parts)
    both = [one for one in asked if all(item.id in predictions for item in one.items)]
    if not both:
        raise DataError(
            "no question has an answer in both languages",
            where=", ".join(map(str, files)),
            expected="predictions of English and of Chinese records",
            fix="--predictions=EN.jsonl,ZH.jsonl",
        )
    compared = score(both, predictions, same_names, max(_whole(parts), len(asked)), suite.seed)
    return dataclasses.replace(compared, of={"predictions": [str(file) for file in files]})


def _both(suite: SuiteConfig) -> SuiteConfig:
    if set(suite.langs) != set(LANGS) or not suite.tasks:
        raise ConfigError(
            "tasks in both languages are to be named",
            where=f"suite.langs is {', '.join(suite.langs)}, suite.tasks "
            f"{', '.join(suite.tasks) or 'empty'}",
            expected="both languages, and tasks with short answers",
            fix="--suite configs/eval/agree.py",
        )
    for name in suite.tasks:
        _check(load_task(name))
    return suite


def _parts(suite: SuiteConfig) -> list[Part]:
    tasks = [suite.task(name) for name in suite.tasks]
    return part_lib.parts_of(
        suite, tasks, Sources(suite.source.path, image_root=suite.source.image_root)
    )


def _whole(parts: Sequence[Part]) -> int:
    """Questions of the whole splits, of which limits may leave out some."""
    sizes: Counter[str] = Counter()
    for part in parts:
        sizes[part.lang] += part.data.expected
    return min(sizes.values())
