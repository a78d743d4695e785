"""Ways to train that are compared by what their models can do: arms of trainings, one table.

    arm "Base" : stage 1 of Base -> stage 2 of Base -> scores
    arm "Chat" : stage 1 of Chat -> stage 2 of Chat -> scores

A training that two arms begin with is run once. Each is a plain `zv train` in a folder of its own,
which starts from the one before it in the arm, and each arm ends in a plain `zv eval`; so whatever
was finished is skipped when the same command is given again. On a cluster a training is handed over
when the one before it has come to its end: the same command goes on from there.
"""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from zv_jax.errors import ConfigError
from zv_jax.sweep import launchers, table
from zv_jax.sweep.points import Point, Sweep, check_point, run_id, written
from zv_jax.sweep.run import last_words, write_files
from zv_jax.tables import align

TABLE = "ablation"  # .md and .csv in the folder of all runs


@dataclass(frozen=True)
class Training:
    """One `zv train`: a recipe and overrides of it. `init_from` is that of the recipe for the first
    training of an arm, and for a later one the training before it."""

    config: str
    overrides: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Arm:
    """One way to train, in the order of its trainings."""

    name: str
    trainings: tuple[Training, ...]


@dataclass(frozen=True)
class Score:
    """A column of the table: a metric of results.json, as `("vqa", "en", "exact_match")`."""

    task: str
    lang: str
    metric: str

    @property
    def head(self) -> str:
        """What stands above the column."""
        return f"{self.task} {self.lang} {self.metric}"


@dataclass(frozen=True)
class Ablation:
    """What is compared.

    Attributes:
        title: of the table.
        arms: the rows, in this order.
        suite: as `zv eval --suite` takes it; every arm is evaluated by it.
        scores: the columns.
        suite_overrides: of the suite, such as `{"limit": 64}`.
    """

    title: str
    arms: tuple[Arm, ...]
    suite: str
    scores: tuple[Score, ...]
    suite_overrides: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One command of an ablation; `after` are the folders that must be finished before."""

    folder: Path
    command: tuple[str, ...]
    after: tuple[Path, ...] = ()

    @property
    def finished(self) -> bool:
        """Whether its results are there."""
        return table.read_results(self.folder) is not None


def check(ablation: Ablation, where: str) -> None:
    """Every training against its recipe, before anything runs.

    Raises:
        ConfigError: an arm has no training or the name of another one, or an override does not fit.
    """
    names = [arm.name for arm in ablation.arms]
    if not names or len(set(names)) < len(names) or not all(a.trainings for a in ablation.arms):
        raise ConfigError(
            "an arm has no training, or two have one name",
            where=where,
            expected="Ablation(title, arms, suite, scores) with arms that differ",
            fix="see configs/sweeps/base_against_chat.py",
        )
    for arm in ablation.arms:
        for training in arm.trainings:
            check_point(training.config, dict(training.overrides), f"{where}, arm {arm.name!r}")


def steps(
    ablation: Ablation, root: Path, launcher: str = "local", extra: Sequence[str] = ()
) -> list[Step]:
    """All commands in an order in which they can be run, shared trainings once.

    Raises:
        ConfigError: as `launchers.command`.
    """
    found: dict[Path, Step] = {}
    for arm in ablation.arms:
        folders = folders_of(arm, root)
        before: tuple[Path, ...] = ()
        for training, folder in zip(arm.trainings, folders, strict=True):
            point: Point = dict(training.overrides)
            if before:
                point["init_from"] = (str(before[0]),)
            given = Sweep(training.config, [point])
            words = launchers.command_in(launcher, given, point, folder, list(extra))
            found.setdefault(folder, Step(folder, tuple(words), before))
            before = (folder,)
        out = _scores_folder(folders[-1])
        suite = [f"--suite.{k}={written(v)}" for k, v in ablation.suite_overrides.items()]
        words = ["eval", f"--checkpoint={folders[-1]}", f"--suite={ablation.suite}", *suite]
        command = (sys.executable, "-m", "zv_jax", *words, f"--workdir={out}")
        found.setdefault(out, Step(out, command, before))
    return list(found.values())


def folders_of(arm: Arm, root: Path) -> list[Path]:
    """The workdir of each training: its name depends on all that comes before it, and on no arm."""
    found, before = [], ""
    for training in arm.trainings:
        point = {"config": training.config, "before": before, **training.overrides}
        recipe = training.config.rpartition("/")[2].replace(".py", "").replace(":", "-")
        before = f"{recipe}-{run_id(point).rpartition('-')[2]}"
        found.append(root / before)
    return found


def run(
    ablation: Ablation,
    root: Path,
    launcher: str = "local",
    extra: Sequence[str] = (),
    dry_run: bool = False,
    say: Callable[[str], None] = print,
) -> dict[str, str]:
    """Runs what is not finished, in order, and writes the table of what is there.

    Returns:
        the last words of each step that failed, by the name of its folder; what needs it is left
        for the next call, as is, on a cluster, what needs a training that was only handed over.

    Raises:
        ConfigError: as `launchers.command`, or the table cannot be written.
    """
    every = steps(ablation, root, launcher, extra)
    waiting = [step for step in every if not step.finished]
    say(f"{len(every)} steps, {len(every) - len(waiting)} finished before")
    failed: dict[str, str] = {}
    for step in waiting:
        if dry_run:
            say(launchers.rehearse(list(step.command)))
        elif all(table.read_results(folder) is not None for folder in step.after):
            say(f"start: {step.folder.relative_to(root)}")
            words = _call(step)
            if words:
                failed[step.folder.relative_to(root).as_posix()] = words
                say(f"failed: {step.folder.relative_to(root)}\n{words}")
        else:
            say(f"later: {step.folder.relative_to(root)}, when what it starts from is finished")
    if not dry_run:
        texts = {"md": markdown(ablation, root), "csv": csv_text(ablation, root)}
        write_files(root, {f"{TABLE}.{ending}": text for ending, text in texts.items()})
    return failed


def _call(step: Step) -> str:
    """Runs a step; its last words where it failed."""
    step.folder.mkdir(parents=True, exist_ok=True)
    log = step.folder / "output.log"
    with log.open("ab") as file:
        code = subprocess.run(step.command, stdout=file, stderr=file, check=False).returncode
    return last_words(log) if code else ""


def _scores_folder(workdir: Path) -> Path:
    return workdir / "scores"


def scores(ablation: Ablation, root: Path) -> list[tuple[str, list[str]]]:
    """(arm, cells) of every row: a value, one on a part of a split with its ``@n``, or "-"."""
    rows = []
    for arm in ablation.arms:
        results = table.read_results(_scores_folder(folders_of(arm, root)[-1])) or {}
        found = results.get("scores", [])
        rows.append((arm.name, [_cell(found, score) for score in ablation.scores]))
    return rows


def _cell(found: Sequence[Mapping], wanted: Score) -> str:
    for entry in found:
        part = f"@{entry['items']}" if entry["items"] < entry["items_expected"] else ""
        key = (entry["task"], entry["lang"], entry["metric"].removesuffix(part))
        if key == (wanted.task, wanted.lang, wanted.metric):
            return f"{entry['value']:.1f}{part}"
    return "-"


def text(ablation: Ablation, root: Path) -> str:
    """The table for the terminal."""
    head = ["", *(score.head for score in ablation.scores)]
    rows = [[name, *cells] for name, cells in scores(ablation, root)]
    return "\n".join([ablation.title, *align([head, *rows], "lr")])


def markdown(ablation: Ablation, root: Path) -> str:
    """The table in Markdown, and what each arm is made of."""
    lines = [f"### {ablation.title}", ""]
    lines += ["| | " + " | ".join(score.head for score in ablation.scores) + " |"]
    lines += ["|---|" + "---:|" * len(ablation.scores)]
    lines += [f"| {name} | " + " | ".join(cells) + " |" for name, cells in scores(ablation, root)]
    lines += [""]
    for arm in ablation.arms:
        made = " → ".join(_described(training) for training in arm.trainings)
        lines.append(f"- {arm.name}: {made}")
    return "\n".join(lines) + "\n"


def _described(training: Training) -> str:
    changes = ", ".join(f"{k}={json.dumps(v, default=str)}" for k, v in training.overrides.items())
    return f"`{training.config}`" + (f" ({changes})" if changes else "")


def csv_text(ablation: Ablation, root: Path) -> str:
    """The table as CSV."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["arm", *(score.head for score in ablation.scores)])
    writer.writerows([name, *cells] for name, cells in scores(ablation, root))
    return file.getvalue()
