"""`zv eval`: a checkpoint on a suite of tasks: records, answers, scores, tables, samples.

The same call continues an interrupted run: whatever was answered lies in predictions/.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import zv_jax
from zv_jax import json_input
from zv_jax.buckets import copied, is_bucket
from zv_jax.checkpoints.identity import identity, pinned
from zv_jax.data.records.record import ImageRef
from zv_jax.errors import ConfigError, DataError
from zv_jax.evaluation import browser, retrieve, tables
from zv_jax.evaluation import config as config_lib
from zv_jax.evaluation import data as data_lib
from zv_jax.evaluation import part as part_lib
from zv_jax.evaluation import task as task_lib
from zv_jax.evaluation.config import SuiteConfig
from zv_jax.evaluation.model import Model
from zv_jax.evaluation.part import Asking, Models, Part
from zv_jax.evaluation.predict import Item, item, predict
from zv_jax.evaluation.predictions import Log, Prediction
from zv_jax.evaluation.results import Writer
from zv_jax.evaluation.score import by_item
from zv_jax.evaluation.task import Task
from zv_jax.files import write_atomic
from zv_jax.progress import progress_bar
from zv_jax.stages import has_variants
from zv_jax.training.metrics import peak_rss_bytes

Load = Callable[..., Model]
Found = dict[str, Mapping[str, Prediction]]  # predictions by control, then by record id
# What of a suite may differ between the calls that continue one run: no answer depends on it.
FREE = (
    *("tasks", "langs", "limit", "limits", "batch_size", "controls", "control_limit"),
    *("untrained_limit", "train_limit", "retrieval_checkpoint", "rerank_k", "rerank_limit"),
    *("sample_limit", "attention_images"),
)
_FACTS = {"model", "variant", "stage", "box_decimals"}  # of a checkpoint, in run.json
_SHOWN = ("model", "variant", "stage")


def run(
    checkpoint: str | Path,
    suite_config: Mapping[str, Any],
    workdir: str | Path,
    progress: bool = True,
    load: Load | None = None,
    shard: tuple[int, int] = (0, 1),
) -> dict[str, Any] | None:
    """Evaluates a checkpoint on a suite.

    Args:
      checkpoint: a workdir (its latest step) or one checkpoint.
      suite_config: the suite, e.g. of `configs/eval/quickstart.py` or `configs/eval/ziya.py`.
      workdir: for predictions/ (kept and continued), results.json, items.jsonl, samples.jsonl,
        samples.html, images/, attention.json and, of tasks of the paper, tables.md.
      progress: whether to show a progress bar and print the tables.
      load: ``(checkpoint, untrained=False) -> Model``; by default `zv_jax.from_pretrained`.
      shard: (number, count) where `count` processes share one workdir: each answers its part; the
        one that finds all answers there scores them.

    Returns:
      The contents of results.json; None where other processes have not answered their part yet.

    Raises:
      ConfigError: the suite is wrong, or the workdir belongs to another run. DataError: records or
      images are missing. CheckpointError: the checkpoint cannot be read.
    """
    suite = config_lib.validate(suite_config)
    if load is None:
        checkpoint, load = pinned(checkpoint), _loader()
    if is_bucket(workdir):
        with copied(str(workdir)) as copy:
            return _Run(suite, copy.folder, str(checkpoint), load, progress, shard).run()
    return _Run(suite, Path(workdir), str(checkpoint), load, progress, shard).run()


class Answers(NamedTuple):
    """What `answers` returns: the parts of a suite, the predictions of all of them by record id,
    and what results say of the checkpoint."""

    parts: list[Part]
    predictions: dict[str, Prediction]
    facts: dict[str, Any]


def answers(
    checkpoint: str | Path,
    suite: SuiteConfig,
    workdir: str | Path,
    progress: bool = True,
    load: Load | None = None,
) -> Answers:
    """Only the answers of `run`, kept in the same predictions/ and continued from there; nothing
    is scored, no control is asked, and results of the workdir stay as they are.

    Raises: as `run` does.
    """
    if load is None:
        checkpoint, load = pinned(checkpoint), _loader()
    suite = dataclasses.replace(suite, controls=())
    return _Run(suite, Path(workdir), str(checkpoint), load, progress, (0, 1)).answers()


def _loader() -> Load:
    # It imports jax: only once the suite is known to be right.
    from zv_jax.inference.model import from_pretrained

    return from_pretrained


class _Run:
    """One call of `run`."""

    def __init__(
        self,
        suite: SuiteConfig,
        workdir: Path,
        checkpoint: str,
        load: Load,
        progress: bool,
        shard: tuple[int, int],
    ):
        self._started = time.monotonic()
        self.suite, self.workdir, self.checkpoint, self.shard = suite, workdir, checkpoint, shard
        self._load, self._progress = load, progress
        self._models: dict[tuple[str, bool], Model] = {}
        self._sources = data_lib.Sources(suite.source.path, image_root=suite.source.image_root)
        self._bar = progress_bar(desc="evaluating", unit="item", total=0, disable=not progress)
        self._notes: dict[str, str] = {}
        self._scores: list[dict[str, Any]] = []

    def run(self) -> dict[str, Any] | None:
        self._prepare()
        with self._bar:
            asked, answered = self._ask()
            for n, group in asked.items():
                if any(i.id not in answered[n][name] for name, a in group.items() for i in a.items):
                    return None
            self.writer = Writer(self.workdir)
            for n, part in enumerate(self.parts):
                self._bar.set_description(f"{part.data.name} {part.lang}")
                self.writer.show(part.data.image, part.data.scope)
                if part.task.kind == "retrieval":
                    self._retrieve(part)
                else:
                    self._score(part, asked[n], answered[n])
            self._attention()
        return self._finish()

    def answers(self) -> Answers:
        self._prepare()
        with self._bar:
            _, answered = self._ask()
        found: dict[str, Prediction] = {}
        for group in answered.values():
            found |= group[""]
        facts = {"checkpoint": self.checkpoint}
        return Answers(self.parts, found, facts | {k: self.facts[k] for k in _SHOWN})

    def _prepare(self) -> None:
        """The parts of the suite, and whether the workdir is theirs."""
        names = self.suite.tasks or task_lib.taught_by(self._facts()["stage"], "suite.tasks")
        tasks = [self.suite.task(name) for name in names]
        self.parts = part_lib.parts_of(self.suite, tasks, self._sources, self._notes.__setitem__)
        self._notes |= _other_languages(tasks, self.suite.langs)
        self.facts = self._same_run()

    def _ask(self) -> tuple[dict[int, dict[str, Asking]], dict[int, Found]]:
        """By number of the part whom to ask, and all that is answered after this process."""
        asked = {n: self._askings(p) for n, p in enumerate(self.parts) if _speaks(p.task)}
        self._bar.total = sum(
            len(self._mine(a.items)) for group in asked.values() for a in group.values()
        )
        return asked, {n: self._answered(self.parts[n], group) for n, group in asked.items()}

    def _model(self, checkpoint: str, untrained: bool = False) -> Model:
        if (checkpoint, untrained) not in self._models:
            extra = {"untrained": True} if untrained else {}
            self._models[checkpoint, untrained] = self._load(checkpoint, **extra)
        return self._models[checkpoint, untrained]

    def _models_of(self, checkpoint: str) -> Models:
        return lambda untrained: self._model(checkpoint, untrained)

    def _facts(self) -> dict[str, Any]:
        """What results say of the evaluated checkpoint."""
        config = self._model(self.checkpoint).config
        stage = config.stage
        return {
            "model": config.model.preset,
            # The first training runs know no variants.
            "variant": stage.variant if has_variants(stage.name) else None,
            "stage": stage.name,
            "box_decimals": config.data.box_decimals,
        }

    def _same_run(self) -> dict[str, Any]:
        """The facts of the checkpoint, kept in run.json so that it need not be loaded again.

        Predictions of another checkpoint, suite or source must not be taken for this one's.
        """
        file = self.workdir / "run.json"
        fixed: dict[str, Any] = {
            "checkpoint": self.checkpoint,
            "checkpoint_identity": identity(self.checkpoint),
        }
        fixed |= {k: v for k, v in dataclasses.asdict(self.suite).items() if k not in FREE}
        if not fixed["source"]["image_root"]:
            del fixed["source"]["image_root"]  # as before it could be given
        places = {(p.task.dataset, p.task.split) for p in self.parts if not p.task.expected}
        fixed["records"] = {
            f"{name}/{split}": self._sources.open(name, split).fingerprint
            for name, split in sorted(places)
        }
        if not file.is_file():
            facts = self._facts()
            self.workdir.mkdir(parents=True, exist_ok=True)
            text = json.dumps({"run": fixed, "facts": facts}, ensure_ascii=False, indent=1)
            write_atomic(file, text.encode())
            return facts
        then, facts = _held(file)
        changed = [name for name in fixed if then.get(name) != fixed[name]]
        if changed:
            name = changed[0]
            raise ConfigError(
                "this folder holds predictions of another run: "
                f"{name} was {then.get(name)!r}, now it is {fixed[name]!r}",
                where=str(self.workdir),
                expected="the same checkpoint and suite as before",
                fix="give another --workdir",
            )
        return facts

    # Answers.

    def _askings(self, part: Part) -> dict[str, Asking]:
        decimals = self.facts["box_decimals"]
        models = self._models_of(self.checkpoint)
        return part_lib.askings(part, part.items(decimals), models, decimals)

    def _mine(self, items: Sequence[Item]) -> Sequence[Item]:
        """The items that this process answers."""
        number, count = self.shard
        return items[number::count]

    def _answered(self, part: Part, group: Mapping[str, Asking]) -> Found:
        """All predictions so far, after this process has made its own."""
        self._bar.set_description(f"{part.data.name} {part.lang}")
        found = {}
        for name, asking in group.items():
            log = self._log(part, name)
            predict(asking.predictor, self._mine(asking.items), log, self._bar.update)
            found[name] = log.done()
        return found

    def _log(self, part: Part, control: str) -> Log:
        task, (number, count) = part.task, self.shard
        stem = task.name if len(task.langs) == 1 else f"{task.name}-{part.lang}"
        recipe = task.recipe
        if control:
            stem = f"{stem}.{control}"
        if control == "shuffled_images":  # which image is shown depends on all that are
            shown = {r: None for p in self.parts for x in p.data.records for r in x.images}
            recipe += "-" + hashlib.sha256(repr(list(shown)).encode()).hexdigest()[:8]
        process = f".{number}-of-{count}" if count > 1 else ""
        return Log(self.workdir / "predictions", stem, recipe, process)

    # Scores.

    def _score(
        self,
        part: Part,
        group: Mapping[str, Asking],
        answered: Mapping[str, Mapping[str, Prediction]],
    ) -> None:
        task, items = part.task, group[""].items
        predictions = by_item(answered[""], items)
        hidden = task.server and not self.suite.stand_in
        if task.kind == "judged" or hidden:
            marks: Sequence[dict] = [{"compared": p.text} for p in predictions]
            if hidden:
                note = f"secret answers: zv eval submit --benchmark={task.name}"
            else:
                note = self._judged(part, items, predictions)
        else:
            training = lambda: self._training(part)
            found = part_lib.outcome(part, group, answered, training)
            marks, note = found.marks, "; ".join(tables.unreadable(self._add(part, found)))
        shown = list(zip(items, predictions, marks, strict=True))
        for one, prediction, mark in shown[: self.suite.sample_limit or None]:
            self.writer.answered(part.data.name, part.lang, one, prediction, mark)
        if note:
            self._notes[part.data.name] = note

    def _training(self, part: Part) -> list[Item]:
        records = self._sources.training(part.task, part.lang, self.suite.train_limit)
        return [item(part.task, record, self.facts["box_decimals"]) for record in records]

    def _judged(self, part: Part, items: Sequence[Item], said: Sequence[Prediction]) -> str:
        """Writes what a judge reads, and takes the scores of one that has judged."""
        rows = [
            {"question_id": one.id.rsplit("/", 1)[-1], "text": prediction.text}
            for one, prediction in zip(items, said, strict=True)
        ]
        lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        write_atomic(self.workdir / f"answers_{part.task.name}.jsonl", lines.encode())
        folder = f"judge_{part.lang}"
        note = f"to be judged: zv eval judge --workdir WORKDIR/{folder}"
        for name in (folder, f"pairs_{part.lang}"):  # alone, and against another model
            try:
                text = (self.workdir / name / "results.json").read_text("utf-8")
            except OSError:
                continue
            self._scores += json.loads(text)["scores"]
            note = "" if name == folder else note
        return note

    def _retrieve(self, part: Part) -> None:
        checkpoint = self.suite.retrieval_checkpoint
        if not checkpoint and self._model(self.checkpoint).has_heads:
            checkpoint = self.checkpoint
        if not checkpoint:
            self._notes[part.data.name] = (
                "left out: no heads of stage 0 came with this checkpoint; "
                "--suite.retrieval_checkpoint=PATH names one that has them"
            )
            return
        found, gallery, similarity = part_lib.retrieved(
            part, self._models_of(checkpoint), self._ticked
        )
        self._add(part, found)
        limit = self.suite.sample_limit
        retrieve.samples(self.writer, part.data.name, part.lang, gallery, similarity, limit)

    def _ticked(self, count: int) -> None:
        self._bar.total += count
        self._bar.update(count)

    def _add(self, part: Part, found: part_lib.Outcome) -> list[dict[str, Any]]:
        rows = part_lib.entries(part, found)
        for _, measure, ids in rows:
            self.writer.items(part.data.name, part.lang, measure, ids)
        entries = [entry for entry, _, _ in rows]
        self._scores += entries
        return entries

    def _attention(self) -> None:
        """Maps of the first images, where they are wanted and the model can show them."""
        count = self.suite.attention_images
        model = self._model(self.checkpoint) if count else None
        if not hasattr(model, "attention_maps"):
            return
        refs: dict[ImageRef, Part] = {}
        for part in self.parts:
            for record in part.data.records:
                refs.setdefault(record.images[0], part)
        maps = []
        for ref, part in list(refs.items())[:count]:
            self.writer.show(part.data.image, part.data.scope)
            weights = model.attention_maps([part.data.image(ref)])[0]
            maps.append((self.writer.image(ref), weights))
        if maps:
            self.writer.attention(maps)

    # Results.

    def _finish(self) -> dict[str, Any]:
        tasks: list[Task] = list({part.task.name: part.task for part in self.parts}.values())
        facts = {name: self.facts[name] for name in _SHOWN}
        results = {"checkpoint": self.checkpoint} | facts
        results |= {
            "seconds": round(time.monotonic() - self._started, 2),
            "peak_rss_bytes": peak_rss_bytes(),
            "scores": self._scores,
            "notes": self._notes,
            "tables": tables.tables(self._scores, tasks, bool(self.suite.stand_in)),
            "suite": dataclasses.asdict(self.suite) | {"tasks": [task.name for task in tasks]},
            "data": self._data(),
            "version": zv_jax.__version__,
        }
        page = browser.page(self.writer.samples, self._scores)
        write_atomic(self.workdir / "samples.html", page.encode())
        if results["tables"]:
            text = tables.markdown(results["tables"], self._notes)
            write_atomic(self.workdir / "tables.md", text.encode())
        self.writer.finish(results)
        if self._progress:
            self._print(results)
        return results

    def _data(self) -> dict[str, Any] | None:
        """The source of the embedded tasks, and what of it was not evaluated; None without any."""
        parts = [p for p in self.parts if not p.task.expected]
        if not parts:
            return None
        task = parts[0].task
        source = self._sources.open(task.dataset, task.split)
        triples = [(p.task, p.lang, p.data) for p in parts]
        return {
            "source": task.dataset,
            "path": self.suite.source.path,
            "split": task.split,
            "sha256": source.fingerprint,
            "left_out": data_lib.left_out(source, triples),
        }

    def _print(self, results: Mapping[str, Any]) -> None:
        if results["tables"]:
            print(tables.terminal(results["tables"], self._notes))
            print(tables.protocols(self._scores))
        else:
            print(tables.render(self._scores, shutil.get_terminal_size().columns))
            for name, note in self._notes.items():
                print(f"{name}: {note}")
        for line in tables.left_out(results["data"]):
            print(line)
        print(f"\nresults: {self.workdir / 'results.json'}", file=sys.stderr)


def _held(file: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a run.json says of its run, and of its checkpoint.

    Raises:
      DataError: it is damaged.
    """
    try:
        held = json_input.parse(file.read_bytes(), str(file))
        run, facts = held["run"], held["facts"]
        if not isinstance(run, dict) or not _FACTS <= facts.keys():
            raise ValueError("a field is missing")
    except (DataError, ValueError, KeyError, TypeError, AttributeError) as error:
        what = error.what if isinstance(error, DataError) else str(error)
        raise DataError(
            f"what run these predictions are of cannot be read: {what}",
            where=str(file),
            expected="what `zv eval` wrote",
            fix="give another --workdir",
        ) from None
    return run, facts


def _other_languages(tasks: Sequence[Task], langs: Sequence[str]) -> dict[str, str]:
    """A note for each task that the languages of a suite leave out."""
    return {
        task.name: f"left out: it is in {', '.join(task.langs)}, suite.langs is {', '.join(langs)}"
        for task in tasks
        if not set(task.langs) & set(langs)
    }


def _speaks(task: Task) -> bool:
    """Whether there are answers to predict; retrieval is done by the process that ends last."""
    return task.kind != "retrieval"
