"""How good the detector is: recall and false drops per filter and language, on labelled pairs.

A labelled set is a folder with `scenes.jsonl` (views), `evaluations.json` (guard lists and
questions to keep away from) and parts, such as `tuned.jsonl`: one pair a line, with the name of its
scene and a `label`, which is `good` or the filter that a fault was planted for.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.bmmic import pair as pairs
from zv_jax.bmmic import view as views
from zv_jax.bmmic.filters.detector import NAMES, Detector, Settings
from zv_jax.bmmic.pair import REWRITINGS, Pair
from zv_jax.bmmic.view import LANGS
from zv_jax.data.public.guard import Guard
from zv_jax.errors import DataError, unknown_name
from zv_jax.tables import align

GOOD = "good"


@dataclass
class Score:
    """Counts of one filter in one language.

    Attributes:
      planted, caught: pairs with its fault, and those that it complained of.
      good, dropped: good pairs, and those that it complained of.
      mistakes: (line, text) of the pairs it was wrong about.
    """

    planted: int = 0
    caught: int = 0
    good: int = 0
    dropped: int = 0
    mistakes: list[tuple[str, str]] = field(default_factory=list)

    @property
    def recall(self) -> float | None:
        """Share of the planted faults that it found; None where none was planted."""
        return self.caught / self.planted if self.planted else None

    @property
    def false_drops(self) -> float | None:
        """Share of the good pairs that it drops; None where there is none."""
        return self.dropped / self.good if self.good else None


def measure(
    folder: str | Path, parts: Iterable[str], settings: Settings | None = None
) -> dict[tuple[str, str], Score]:
    """{(filter, language): score} of the parts of a labelled set, each filter by itself.

    `any` stands for the whole detector. Good pairs are remembered, so that planted repetitions of
    them can be found.

    Raises:
      DataError: a file is missing or a line of it is wrong.
    """
    folder = Path(folder)
    about = json_input.parse((folder / "evaluations.json").read_bytes(), "evaluations.json")
    detector = Detector(settings, guard=Guard(about["guard"]), questions=about["questions"])
    scores: dict[tuple[str, str], Score] = defaultdict(Score)
    for name in parts:
        for where, label, pair in read(folder, name):
            found = detector.every(pair)
            _count(scores["any", pair.lang], label == GOOD, bool(found), where, str(found))
            for kind in NAMES if label == GOOD else (label,):
                _count(scores[kind, pair.lang], label == GOOD, kind in found, where,
                       found.get(kind, "not found"))  # fmt: skip
            if label == GOOD:
                detector.remember([pair])
    return dict(scores)


def _count(score: Score, good: bool, complained: bool, where: str, why: str) -> None:
    if good:
        score.good += 1
        score.dropped += complained
    else:
        score.planted += 1
        score.caught += complained
    if good == complained:
        score.mistakes.append((where, why))


def read(folder: Path, name: str) -> Iterator[tuple[str, str, Pair]]:
    """(file and line, label, pair) of one part."""
    scenes = {}
    for number, line in json_input.numbered(folder / "scenes.jsonl"):
        view = views.loads(line, f"{folder / 'scenes.jsonl'}:{number}")
        scenes[view.id.rpartition("/")[2]] = view
    path = folder / f"{name}.jsonl"
    for number, line in json_input.numbered(path):
        where = f"{path}:{number}"
        row = json_input.parse(line, where, once=True)
        yield where, *_labelled(row, scenes, f"{name}-{number:03d}", where)


def _labelled(
    row: dict[str, Any], scenes: dict[str, views.View], identity: str, where: str
) -> tuple[str, Pair]:
    label, scene = row.get("label"), row.get("scene")
    for kind, value, valid in (("label", label, (GOOD, *NAMES)), ("scene", scene, scenes),
                               ("rewriting", row.get("rewriting", ""), ("", *REWRITINGS)),
                               ("language", row.get("lang"), LANGS)):  # fmt: skip
        if value not in valid:
            raise unknown_name(kind, value, valid, where, error=DataError)
    return label, Pair(
        id=identity,
        lang=row["lang"],
        kind=row["kind"],
        turns=pairs.turns(*row["turns"]),
        view=scenes[scene],
        rewriting=row.get("rewriting", ""),
        parent=pairs.turns(*row.get("parent", ())),
        source=pairs.turns(*row.get("source", ())),
        finish_reason=row.get("finish_reason", "stop"),
    )


def rows(scores: dict[tuple[str, str], Score]) -> list[tuple[str, ...]]:
    """The table: filter, then of each language recall and false drops."""
    out = []
    for name in (*NAMES, "any"):
        cells = [name]
        for lang in LANGS:
            score = scores.get((name, lang), Score())
            cells += [_share(score.caught, score.planted), _share(score.dropped, score.good)]
        out.append(tuple(cells))
    return out


HEAD = ("filter", "recall en", "false en", "recall zh", "false zh")


def render(scores: dict[tuple[str, str], Score]) -> str:
    """The table as aligned text, and what each filter was wrong about."""
    lines = list(align([HEAD, *rows(scores)], "lrrrr"))
    for (name, lang), score in sorted(scores.items()):
        if name != "any":
            lines += [f"{name} {lang}: {where}: {why}" for where, why in score.mistakes]
    return "\n".join(lines)


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%} ({part}/{whole})" if whole else "-"
