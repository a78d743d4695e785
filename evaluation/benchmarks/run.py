"""Runs a suite of benchmarks: records, answers, scores, the paper's tables, samples to look at."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tqdm import tqdm

import zv_jax
from zv_jax.data.records.record import Record
from zv_jax.data.text.dialogue import render_boxes
from zv_jax.errors import ConfigError
from zv_jax.evaluation import table
from zv_jax.evaluation.benchmarks import (
    answering,
    browser,
    retrieving,
    scoring,
    spec,
    tables,
)
from zv_jax.evaluation.benchmarks import config as config_lib
from zv_jax.evaluation.benchmarks import data as data_lib
from zv_jax.evaluation.benchmarks.config import BenchmarkSuite
from zv_jax.evaluation.benchmarks.data import Data
from zv_jax.evaluation.benchmarks.predictions import Log, Prediction
from zv_jax.evaluation.benchmarks.spec import Benchmark
from zv_jax.evaluation.model import Model
from zv_jax.evaluation.outputs import Writer, named, score
from zv_jax.evaluation.tasks.base import Measure
from zv_jax.files import write_atomic

Load = Callable[[str], Model]


def run(
    checkpoint: str | Path,
    suite_config: Mapping[str, Any],
    workdir: str | Path,
    load: Load,
    progress: bool = True,
    shard: tuple[int, int] = (0, 1),
) -> dict[str, Any] | None:
    """Evaluates a checkpoint on benchmarks; the same call continues an interrupted run.

    Args:
      checkpoint: what `load` understands.
      suite_config: as `configs/eval/ziya.py` makes it.
      workdir: for predictions/ (kept and continued), results.json, items.jsonl, samples.jsonl,
        samples.html, tables.md, and images/.
      load: makes the model of a checkpoint.
      progress: show a bar and print the tables.
      shard: (number, count) where `count` processes share one workdir: each answers its part; the
        one that finds all answers there scores them.

    Returns:
      The contents of results.json; None where answers of other processes are still missing.

    Raises:
      ConfigError: the suite is wrong, or the workdir belongs to another run. DataError: files are
      missing or not as published.
    """
    suite, workdir = config_lib.validate(suite_config), Path(workdir)
    _same_run(workdir, str(checkpoint), suite)
    runner = _Runner(suite, workdir, checkpoint, load, progress, shard)
    return runner.run()


def open_data(benchmark: Benchmark, suite: BenchmarkSuite) -> Data:
    """The records of a benchmark, or what stands in for them."""
    if suite.stand_in:
        return data_lib.stand_in(benchmark, limit=suite.limit)
    return data_lib.from_files(benchmark, suite.data, suite.limit)


def entries(
    benchmark: Benchmark, data: Data, measures: tuple[Measure, ...], how: str, seed: int
) -> list[dict[str, Any]]:
    """The measures as entries of results.json; a part's names end in @n."""
    ids = [record.id for record in data.records]
    return [
        score(
            data.name,
            benchmark.lang,
            named(measure, len(ids), data.expected),
            protocol=benchmark.describe(f"{how}{measure.protocol}"),
            expected=data.expected,
            ids=ids,
            controls={},
            control_n={},
            seed=seed,
        )
        for measure in measures
    ]


class _Runner:
    def __init__(
        self,
        suite: BenchmarkSuite,
        workdir: Path,
        checkpoint: str | Path,
        load: Load,
        progress: bool,
        shard: tuple[int, int],
    ):
        self.suite, self.workdir, self.shard = suite, workdir, shard
        self._checkpoint, self._load = str(checkpoint), load
        self._models: dict[str, Model] = {}
        self._bar = tqdm(desc="evaluating", unit="record", total=0, disable=not progress)
        self._progress = progress

    def run(self) -> dict[str, Any] | None:
        benchmarks = [spec.load(name) for name in self.suite.benchmarks]
        opened = {b.name: open_data(b, self.suite) for b in benchmarks}  # before anything is asked
        asked = [b for b in benchmarks if b.kind != "retrieval"]
        self._bar.total = sum(len(self._mine(opened[b.name])) for b in asked)
        with self._bar:
            for benchmark in asked:
                self._ask(benchmark, opened[benchmark.name])
        said = {b.name: self._log(b).done() for b in asked}
        missing = {
            b.name: sum(record.id not in said[b.name] for record in opened[b.name].records)
            for b in asked
        }
        if any(missing.values()):
            return None
        scores: list[dict[str, Any]] = []
        notes: dict[str, str] = {}
        sink = Sink(self.workdir, self.suite.sample_limit)
        for benchmark in benchmarks:
            data = opened[benchmark.name]
            if benchmark.kind == "retrieval":
                found, note = self._retrieve(benchmark, data, sink)
            else:
                found, note = self._score(benchmark, data, said[benchmark.name], sink)
            scores += found
            if note:
                notes[data.name] = note
        return self._finish(scores, notes, sink)

    def _mine(self, data: Data) -> tuple[Record, ...]:
        """The records this process answers."""
        return data.records[self.shard[0] :: self.shard[1]]

    def _model(self, checkpoint: str) -> Model:
        if checkpoint not in self._models:
            self._models[checkpoint] = self._load(checkpoint)
        return self._models[checkpoint]

    def _log(self, benchmark: Benchmark) -> Log:
        number, count = self.shard
        part = f".{number}-of-{count}" if count > 1 else ""
        return Log(self.workdir / "predictions", benchmark.name, benchmark.recipe, part)

    def _ask(self, benchmark: Benchmark, data: Data) -> None:
        self._bar.set_description(data.name)
        log = self._log(benchmark)
        done = log.done()
        if all(record.id in done for record in self._mine(data)):
            self._bar.update(len(self._mine(data)))
            return  # without loading the model
        answering.predict(
            self._model(self._checkpoint), benchmark, data, log, self.suite.settings, self.shard,
            self._bar.update,
        )  # fmt: skip

    def _score(
        self, benchmark: Benchmark, data: Data, said: Mapping[str, Prediction], sink: Sink
    ) -> tuple[list[dict[str, Any]], str]:
        predictions = scoring.by_record(said, data.records)
        if benchmark.kind == "judged":
            _answers_file(self.workdir / f"answers_{benchmark.name}.jsonl", data, predictions)
            folder = f"judge_{benchmark.lang}"
            judged = _judged(self.workdir / folder)
            note = "" if judged else f"to be judged: zv eval judge --workdir WORKDIR/{folder}"
            sink.rows(benchmark, data, predictions, None)
            return judged, note
        if benchmark.server and not self.suite.stand_in:
            sink.rows(benchmark, data, predictions, None)
            return [], f"secret answers: zv eval submit --benchmark={benchmark.name}"
        scored = scoring.score(benchmark, data.records, predictions)
        sink.rows(benchmark, data, predictions, scored.marks)
        sink.items(benchmark, data, scored.measures)
        how = answering.decoding(benchmark, self.suite.settings) if benchmark.decoding else {}
        shorter = how.get("max_new_tokens") != benchmark.decoding.get("max_new_tokens")
        cap = f"at most {how['max_new_tokens']} tokens|" if shorter else ""
        found = entries(benchmark, data, scored.measures, cap, self.suite.seed)
        return found, "; ".join(table.unreadable(found))

    def _retrieve(
        self, benchmark: Benchmark, data: Data, sink: Sink
    ) -> tuple[list[dict[str, Any]], str]:
        if not self.suite.retrieval_checkpoint:
            return [], "left out: --suite.retrieval_checkpoint=PATH names a checkpoint of stage 0"
        found = retrieving.retrieve(
            self._model(self.suite.retrieval_checkpoint), data, self.suite.rerank_k,
            self.suite.batch_size,
        )  # fmt: skip
        sink.retrieved(benchmark, data, found)
        return entries(benchmark, data, found.measures, "", self.suite.seed), ""

    def _finish(
        self, scores: list[dict[str, Any]], notes: dict[str, str], sink: Sink
    ) -> dict[str, Any]:
        results = {
            "checkpoint": self._checkpoint,
            "suite": dataclasses.asdict(self.suite),
            "scores": scores,
            "notes": notes,
            "tables": tables.tables(scores, self.suite.benchmarks, bool(self.suite.stand_in)),
            "version": zv_jax.__version__,
        }
        page = browser.page(sink.writer.samples, scores)
        write_atomic(self.workdir / "samples.html", page.encode())
        text = tables.markdown(results["tables"], notes)
        write_atomic(self.workdir / "tables.md", text.encode())
        sink.writer.finish(results)
        if self._progress:
            print(tables.terminal(results["tables"], notes))
            print(tables.protocols(scores))
        return results


class Sink:
    """Where samples and items of all benchmarks go; pictures are found by their own data."""

    def __init__(self, workdir: Path, limit: int):
        self._picture: Callable[..., Any] = lambda ref: None
        self.writer = Writer(workdir, lambda ref: self._picture(ref))
        self._limit = limit

    def rows(
        self,
        benchmark: Benchmark,
        data: Data,
        said: list[Prediction],
        marks: tuple[dict[str, Any], ...] | None,
    ) -> None:
        self._show(data)
        shown = data.records[: self._limit or None]
        for n, (record, prediction) in enumerate(zip(shown, said, strict=False)):
            mark = marks[n] if marks else {"compared": prediction.text, "correct": None}
            asked = filter(None, (answering.context(record), answering.question(record)))
            facts = {
                "id": record.id,
                "question": answering.prompt(benchmark, record)
                if benchmark.kind == "caption"
                else "\n".join(asked),
                "references": _references(record),
                "options": list(record.choices or ()),
                "prediction": prediction.text,
                "boxes": [list(thing.box) for thing in record.objects if thing.image == 0],
            }
            self.writer.sample(data.name, benchmark.lang, record.images, **(facts | mark))

    def items(self, benchmark: Benchmark, data: Data, measures: tuple[Measure, ...]) -> None:
        ids = [record.id for record in data.records]
        for measure in measures:
            self.writer.items(data.name, benchmark.lang, measure, ids)

    def _show(self, data: Data) -> None:
        """From here on pictures are those of `data`; what stands in is one source for all."""
        self._picture, self.writer.scope = data.picture, data.name.partition(":")[0]

    def retrieved(self, benchmark: Benchmark, data: Data, found: retrieving.Retrieved) -> None:
        self._show(data)
        best = found.similarity.argsort(1)[:, ::-1][:, :1]
        for n, record in enumerate(data.records[: self._limit or None]):
            top = int(best[n, 0])
            self.writer.sample(
                data.name, benchmark.lang, record.images,
                id=record.id, references=list(record.answers or ()), prediction=found.texts[top],
                compared=found.texts[top], correct=found.image_of_text[top] == n,
                score=float(found.similarity[n, top]), boxes=[], options=[],
            )  # fmt: skip


def _references(record: Record) -> list[str]:
    """What an answer is compared with: the right option, or texts with their boxes written out."""
    if record.answer_index is not None:
        return [record.choices[record.answer_index]]
    return [
        render_boxes(text, record.objects, answering.BOX_DECIMALS) for text in record.answers or ()
    ]


def _answers_file(file: Path, data: Data, said: list[Prediction]) -> None:
    rows = [
        {"question_id": record.id.rsplit("/", 1)[-1], "text": prediction.text}
        for record, prediction in zip(data.records, said, strict=True)
    ]
    lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    write_atomic(file, lines.encode())


def _judged(folder: Path) -> list[dict[str, Any]]:
    try:
        return json.loads((folder / "results.json").read_text("utf-8"))["scores"]
    except OSError:
        return []


def _same_run(workdir: Path, checkpoint: str, suite: BenchmarkSuite) -> None:
    """Predictions of another checkpoint or recipe must not be taken for this one's."""
    file = workdir / "run.json"
    fixed = dataclasses.asdict(suite)
    for free in ("batch_size", "sample_limit", "retrieval_checkpoint", "rerank_k"):
        fixed.pop(free)
    # What is asked of one benchmark does not depend on which others are asked.
    fixed.pop("benchmarks")
    now = {"checkpoint": checkpoint, "suite": fixed}
    if not file.is_file():
        workdir.mkdir(parents=True, exist_ok=True)
        write_atomic(file, json.dumps(now, ensure_ascii=False, indent=1).encode())
        return
    then = json.loads(file.read_text("utf-8"))
    both = {"checkpoint": then["checkpoint"]} | then["suite"], {"checkpoint": checkpoint} | fixed
    changed = [name for name in both[1] if both[0].get(name) != both[1][name]]
    if changed:
        name = changed[0]
        raise ConfigError(
            f"this folder holds predictions of another run: {name} was {both[0].get(name)!r}, "
            f"now it is {both[1][name]!r}",
            where=str(workdir),
            expected="the same checkpoint and suite as before",
            fix="give another --workdir",
        )
