"""Reads what a run left behind, whatever of it exists, and says what does not.

Nothing here fails on a missing or broken file: it is noted in `Run.missing` or `Run.broken`, and
the page says so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from zv_jax import json_input
from zv_jax.errors import DataError
from zv_jax.json_input import finite
from zv_jax.stages import STAGES as TABLE

STAGES = (
    "language",
    "vision",
    "stage0",
    "stage1_base",
    "stage1_chat",
    "stage2_base",
    "stage2_chat",
)
STAGE_NAMES: dict[str, tuple[str, str]] = {
    "language": ("Language warm-up", "语言预热"),
    "vision": ("Vision warm-up", "视觉预热"),
    "stage0": ("Stage 0", "阶段 0"),
    "stage1_base": ("Stage 1 · Base", "阶段 1 · Base"),
    "stage1_chat": ("Stage 1 · Chat", "阶段 1 · Chat"),
    "stage2_base": ("Stage 2 · Base", "阶段 2 · Base"),
    "stage2_chat": ("Stage 2 · Chat", "阶段 2 · Chat"),
}
OBJECTIVES = ("symbols", "words", "itc", "itm", "itg", "lm")


@dataclass
class Stage:
    """One training run: its logged rows (by step, once each), configuration, events, table of
    parameters, the counts of its data, and the samples that could not be used."""

    name: str
    metrics: list[dict] = field(default_factory=list)
    config: dict = field(default_factory=dict)
    events: list[dict] = field(default_factory=list)
    table: list[dict] = field(default_factory=list)
    substitutes: list[dict] = field(default_factory=list)
    shortened: list[dict] = field(default_factory=list)
    census: list[dict] = field(default_factory=list)

    @property
    def title(self) -> tuple[str, str]:
        return STAGE_NAMES[self.name]

    @property
    def steps(self) -> int:
        """The last step that was logged."""
        return int(self.metrics[-1]["step"]) if self.metrics else 0

    @property
    def planned(self) -> int | None:
        """Steps the configuration asks for."""
        value = finite(_dig(self.config, "train", "steps"))
        return None if value is None else int(value)

    @property
    def status(self) -> str:
        """`done`, `partial` or `absent`; the last log line may lie one interval before the end."""
        if not self.metrics:
            return "absent"
        if self.planned is None:
            return "partial"
        every = finite(_dig(self.config, "train", "log_every")) or 1
        return "done" if self.steps + every >= self.planned else "partial"

    def losses(self) -> dict[str, list[tuple[float, float | None]]]:
        """Objective -> (step, loss); a loss that is not finite is `None`.

        Where only the total is logged and one objective makes it up, the total is that objective.
        """
        found = {
            key: [(float(row["step"]), finite(row[key])) for row in self.metrics if key in row]
            for key in OBJECTIVES
        }
        found = {key: points for key, points in found.items() if points}
        name, _, variant = self.name.partition("_")
        if not found and TABLE[name, variant or "base"].speaks:
            total = [(float(r["step"]), finite(r["loss"])) for r in self.metrics if "loss" in r]
            found = {"lm": total} if total else {}
        return found

    def highest(self, key: str) -> float | None:
        """The largest finite value of `key` in the log."""
        values = [finite(row.get(key)) for row in (*self.metrics, *self.events)]
        return max((value for value in values if value is not None), default=None)


@dataclass
class Evaluation:
    """One `eval_*` folder."""

    name: str
    folder: Path
    results: dict = field(default_factory=dict)
    samples: list[dict] = field(default_factory=list)
    attention: list[dict] = field(default_factory=list)

    @property
    def key(self) -> str:
        """The stage it evaluates, in the spelling of `STAGES` where that can be told."""
        stage, variant = str(self.results.get("stage") or ""), self.results.get("variant")
        for guess in (f"{stage}_{variant}", stage, self.name.removeprefix("eval_")):
            if guess in STAGES:
                return guess
        return stage or self.name

    @property
    def title(self) -> tuple[str, str]:
        return STAGE_NAMES.get(self.key, (self.key, self.key))

    @property
    def scores(self) -> list[dict]:
        found = self.results.get("scores")
        return [_named(s) for s in found if isinstance(s, dict)] if isinstance(found, list) else []

    def image(self, name: object) -> Path | None:
        """The file of an image inside this folder; `None` if there is none or it lies outside."""
        if not isinstance(name, str) or not name:
            return None
        try:
            root = self.folder.resolve()
            path = (root / name).resolve()
            return path if path.is_relative_to(root) and path.is_file() else None
        except (OSError, ValueError, RuntimeError):  # no file can have such a name
            return None


@dataclass
class Run:
    """A whole runs folder."""

    folder: Path
    stages: dict[str, Stage] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    times: list[dict] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def best_first(self) -> list[Evaluation]:
        """Evaluations, the furthest trained first and Chat before Base."""
        order = {name: at for at, name in enumerate(STAGES)}
        return sorted(self.evaluations, key=lambda e: -order.get(e.key, -1))

    def started_from(self) -> list[str]:
        """Names of checkpoints from outside this run that any stage was started from."""
        outside = []
        for stage in self.stages.values():
            sources = stage.config.get("init_from")
            for source in sources if isinstance(sources, list) else [sources or ""]:
                parts = [part for part in Path(str(source)).parts if part != "/"]
                if parts and not set(parts) & set(STAGES) and parts[-1] not in outside:
                    outside.append(parts[-1])
        return outside

    def sources(self) -> list[str]:
        """Names of the data sources of all configurations, in order of appearance."""
        names: dict[str, None] = {}
        for stage in self.stages.values():
            given = _dig(stage.config, "data", "sources")
            for source in given if isinstance(given, list) else ():
                if isinstance(source, dict) and source.get("name"):
                    names[str(source["name"])] = None
        return list(names)


def read(folder: Path) -> Run:
    """Everything under `folder` that the report can use."""
    run = Run(folder)
    places, evaluations = _places(run)
    for name in STAGES:
        place = places[name]
        stage = Stage(name)
        rows = {}
        for row in _lines(run, place / "metrics.jsonl"):
            step = finite(row.get("step"))
            if step is not None:
                rows[step] = row  # a resumed run repeats steps: what it logged last is what counts
        stage.metrics = [rows[step] for step in sorted(rows)]
        stage.config = _json(run, place / "config.json", dict)
        stage.events = _lines(run, place / "events.jsonl", required=False)
        stage.table = [
            r for r in _json(run, place / "stage_table.json", list) if isinstance(r, dict)
        ]
        for path in sorted(place.glob("substitutes*.jsonl")):  # one for each process of the run
            stage.substitutes += _lines(run, path)
        for path in sorted(place.glob("shortened*.jsonl")):
            stage.shortened += _lines(run, path)
        counts = _json(run, place / "census.json", list, required=False)
        stage.census = [row for row in counts if isinstance(row, dict)]
        run.stages[name] = stage
    for place in evaluations:
        if place.is_dir():
            run.evaluations.append(
                Evaluation(
                    place.name,
                    place,
                    _json(run, place / "results.json", dict),
                    _lines(run, place / "samples.jsonl"),
                    [
                        a
                        for a in _json(run, place / "attention.json", list, required=False)
                        if isinstance(a, dict)
                    ],
                )
            )
    if not run.evaluations:
        run.missing.append("eval_*/")
    run.times = _lines(run, folder / "times.jsonl")
    return run


def _places(run: Run) -> tuple[dict[str, Path], list[Path]]:
    """The workdir of each stage, and the folders of evaluations.

    A folder that is called as a stage is its workdir; others are known by what they hold: the stage
    in config.json, or the scores in results.json. Of several the latest counts; it is noted in
    `broken` which are left out.
    """
    folder = run.folder
    found = {name: folder / name for name in STAGES}
    evaluations = set(folder.glob("eval_*"))
    others: dict[str, list[tuple[float, Path]]] = {}
    for place in sorted(path for path in folder.glob("*") if path.is_dir()):
        if place.name in STAGES:
            continue
        config = _json(run, place / "config.json", dict, required=False)
        stage, variant = (str(_dig(config, "stage", key) or "") for key in ("name", "variant"))
        name = next((n for n in (f"{stage}_{variant}", stage) if n in STAGES), None)
        if name is not None and (place / "metrics.jsonl").is_file():
            others.setdefault(name, []).append(((place / "metrics.jsonl").stat().st_mtime, place))
        elif "scores" in _json(run, place / "results.json", dict, required=False):
            evaluations.add(place)
    for name, candidates in others.items():
        if not found[name].is_dir():
            found[name] = max(candidates)[1]
        run.broken += [
            f"{place.name}: another run of {name}, not shown"
            for _, place in candidates
            if place != found[name]
        ]
    return found, sorted(evaluations)


def _named(row: dict) -> dict:
    """`row` with what it is grouped by as text, whatever the file says."""
    odd = {key: str(row[key]) for key in _NAMES if isinstance(row.get(key), list | dict)}
    return row | odd if odd else row


_NAMES = ("task", "lang", "metric", "id", "source", "record")


def _dig(values: Any, *path: str) -> Any:
    for key in path:
        values = values.get(key) if isinstance(values, dict) else None
    return values


def dig(values: Any, path: str) -> Any:
    """`values[a][b]` for `"a.b"`, or `None` where a level is missing."""
    return _dig(values, *path.split("."))


def _text(run: Run, path: Path, required: bool) -> str | None:
    name = path.relative_to(run.folder).as_posix()
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        if required:
            run.missing.append(name)
    except (OSError, UnicodeDecodeError) as error:
        run.broken.append(f"{name}: {type(error).__name__}")
    return None


def _json(run: Run, path: Path, kind: type, required: bool = True) -> Any:
    text = _text(run, path, required)
    if text is None:
        return kind()
    try:
        value = _parsed(text, str(path))
    except DataError:
        value = None
    if isinstance(value, kind):
        return value
    run.broken.append(f"{path.relative_to(run.folder).as_posix()}: not a JSON {kind.__name__}")
    return kind()


def _parsed(text: str, where: str) -> Any:
    """A value of JSON; old logs hold NaN."""
    value = json_input.parse(text, where, strict=False)
    if "\\u" in text:
        json_input.check_whole(value, where)
    return value


def _lines(run: Run, path: Path, required: bool = True) -> list[dict]:
    """One JSON object per line. A cut-off last line is what an interrupted run leaves."""
    rows, bad = [], 0
    lines = (_text(run, path, required) or "").rstrip("\n").split("\n")
    for at, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            value = _parsed(line, str(path))
        except DataError:
            value = None
        if isinstance(value, dict):
            rows.append(_named(value))
        elif at < len(lines) - 1:
            bad += 1
    if bad:
        run.broken.append(f"{path.relative_to(run.folder).as_posix()}: {bad} unreadable lines")
    return rows
